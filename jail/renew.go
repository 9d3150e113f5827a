package jail

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// renewals is how often a plan is brought up to date with one file that was replaced
// while the jail was being built. A package manager replaces a file once (ldconfig and
// /etc/ld.so.cache); what is replaced each time is not left in peace.
const renewals = 2

// replacedError says that something else lies where the plan saw a file or folder.
type replacedError struct{ path string }

func (e *replacedError) Error() string {
	return e.path + " was replaced by something else while the jail was being built"
}

func replaced(m Mount) error {
	return &LayerError{Layer: "file view", Err: &replacedError{m.Source},
		Hint: "something on the host renames or links folders at this moment; run again when it is done"}
}

// renew brings the plan up to date where err says that a file was replaced, and says
// whether it did. Only for a file that is read: it is what the same profile would have
// been given a moment later, under the same name. No other decision of the plan may be
// about the new one, so it has no other name, is no program, and is open to the same
// users; and no link leads to it. Anything else stays the refusal that it is.
func (p *Plan) renew(err error) bool {
	var r *replacedError
	if !errors.As(err, &r) {
		return false
	}
	done := false
	for i := range p.Mounts {
		m := &p.Mounts[i]
		if m.Source != r.path {
			continue
		}
		var st unix.Stat_t
		place, lerr := resolve(m.Source)
		if lerr != nil || m.Kind != MountBind || !m.File || m.Writable || m.Target != m.Source || m.Rdev != 0 || m.Ino == 0 || m.IDMap != nil && *m.IDMap != place.Owner ||
			place.Real != m.Source || place.Private != m.Private || place.Perm&0o7111 != 0 ||
			unix.Lstat(m.Source, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 || st.Ino != place.Ino {
			return false
		}
		m.Dev, m.Ino = place.Dev, place.Ino
		done = true
	}
	return done
}

// unstaged is the file that libcontainer could not mount for PID 1, as its error says,
// where the name is another file's by now: it says so in several ways.
func (p *Plan) unstaged(text string) *Mount {
	staging := p.staging()
	for i := range staging {
		m := &staging[i]
		if !strings.Contains(text, "error mounting "+strconv.Quote(m.Source)+" to rootfs") {
			continue
		}
		if now, err := resolve(m.Source); err == nil && (now.Dev != m.Dev || now.Ino != m.Ino) {
			return m
		}
	}
	return nil
}
