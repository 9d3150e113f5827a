package run

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/jail"
)

// mended gives a layer's error the mend that doctor would print. The jail knows what
// failed, and the host's facts say why it did.
func mended(err error, f hostFacts) error {
	var le *jail.LayerError
	if !errors.As(err, &le) {
		return err
	}
	cause := le.Err
	if errno := errnoIn(le.Err); errno != 0 && le.Layer != layerNetwork {
		cause = errno // its text alone: the rest is said anyway
	}
	c := diagnose(le.Layer, cause, f)
	if len(c.Mend) == 0 {
		return err
	}
	return &jail.LayerError{Layer: le.Layer, Err: fmt.Errorf("%s\n%w", c.Why, le.Err), Hint: c.hint()}
}

// errnoIn finds the errno of an error that may have come through another process as
// text: libcontainer's early failures and PID 1's messages have no other form.
func errnoIn(err error) syscall.Errno {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	text := strings.ToLower(errText(err))
	for _, e := range []syscall.Errno{unix.ENOSPC, unix.EPERM, unix.EACCES, unix.EROFS, unix.ENOSYS, unix.EOPNOTSUPP,
		unix.ENODEV, unix.EUSERS, unix.EBUSY, unix.EINVAL, unix.EIO} {
		if strings.Contains(text, e.Error()) {
			return e
		}
	}
	return 0
}
