package jail

/*
extern int agentjail_private;
*/
import "C"

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// scratchSize bounds the scratch root: generated files and mount points, nothing
// of the agent's.
const scratchSize = "64m"

// private says whether this process has a mount namespace of its own (private.c).
func private() bool { return C.agentjail_private == 1 }

// makeScratch makes the folder that the jail's root and libcontainer's state lie
// in: on a tmpfs of the supervisor's own where it may mount one.
func makeScratch(dir string) error {
	if err := os.Mkdir(dir, 0o711); err != nil {
		return err
	}
	if !private() {
		return nil
	}
	// 0711: in root mode the jail's user must come to its root folder.
	err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0711,size="+scratchSize)
	if err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", dir, err)
	}
	return nil
}

// removeScratch takes it away again, also where it is half made.
func removeScratch(dir string) error {
	if private() {
		// EINVAL: it was not mounted yet.
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("umount %s: %w", dir, err)
		}
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return os.RemoveAll(dir)
}
