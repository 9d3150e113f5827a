package changes

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// overlayMarks reads what overlayfs writes into an upper layer
// (Documentation/filesystems/overlayfs.rst). The marks are believed only where the
// jail can't have made them: overlayfs refuses to create a 0:0 character device
// (ovl_mknod), and hides or, since Linux 6.7, escapes the attributes of its own
// prefix, which is user.overlay. for a mount with "userxattr". In a mount without
// it, user.overlay.* would be the jail's to set, and only trusted.overlay.* counts.
type overlayMarks struct{ prefix string }

func newOverlayMarks(trusted bool) (overlayMarks, error) {
	if !trusted {
		return overlayMarks{"user.overlay."}, nil
	}
	// xattr(7): without the capability a trusted attribute looks like none at all,
	// and each folder that the jail emptied would look like a merged one.
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return overlayMarks{}, fmt.Errorf("read own capabilities: %w", err)
	}
	if data[0].Effective&(1<<unix.CAP_SYS_ADMIN) == 0 {
		return overlayMarks{}, errors.New("reading trusted.overlay attributes needs CAP_SYS_ADMIN\nhint: mount the overlay with userxattr")
	}
	return overlayMarks{"trusted.overlay."}, nil
}

var (
	errRedirect = errors.New("the overlay marks it as moved (redirect_dir), which is switched off in a jail")
	errMetacopy = errors.New("the overlay keeps its content elsewhere (metacopy), which is switched off in a jail")
)

// folder reads the marks of the folder that the walk is in: opaque, the lower
// layer's folder of the same path is not merged in; xwhiteouts, it may hold
// whiteouts that are files with an attribute (since Linux 6.7).
func (m overlayMarks) folder(t *dirTree) (opaque, xwhiteouts bool, err error) {
	redirect, err := t.xattr(m.prefix + "redirect")
	if err != nil {
		return false, false, err
	}
	if redirect != "" {
		return false, false, errRedirect
	}
	v, err := t.xattr(m.prefix + "opaque")
	return v == "y", v == "x", err
}

// whiteout tells whether an entry of the present folder says "deleted".
func (m overlayMarks) whiteout(t *dirTree, name string, e treeEntry, xwhiteouts bool) (bool, error) {
	if e.typ == TypeDevice {
		return e.rdev == whiteoutDevice, nil
	}
	if !xwhiteouts || e.typ != TypeFile || e.size != 0 {
		return false, nil
	}
	f, white, err := t.openMarked(name, e, m.prefix+"whiteout")
	if err != nil {
		return false, err
	}
	return white, f.Close()
}

// open opens a file of the upper layer, unless the layer lacks its content. An upper
// layer without a lower one has no marks.
func (m overlayMarks) open(t *dirTree, name string, e treeEntry) (*os.File, error) {
	f, metacopy, err := t.openMarked(name, e, m.prefix+"metacopy")
	if err != nil {
		return nil, err
	}
	if metacopy {
		_ = f.Close()
		return nil, errMetacopy
	}
	return f, nil
}
