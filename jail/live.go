package jail

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// liveDir holds the generated files that are replaced while the run goes on, and
// nothing else: Landlock's rule is on this folder. One on a file would stay with the
// file that was there first. What is called InsideDir/NAME is a link into it.
const liveDir = InsideDir + "/live"

func livePath(path string) string { return filepath.Join(liveDir, filepath.Base(path)) }

// Replace gives a live file another content. Whoever reads it in the jail sees the old
// one or the new one, never a part.
//
// It is done from the host's side, in the folder that is the jail's root: inside, the
// root is mounted read-only for everybody, and nobody there but PID 1 owns it. No name
// in this folder was ever the agent's to choose, so there is no link to be led by; the
// folder is opened beneath the root all the same.
func (j *Jail) Replace(path string, content []byte) error {
	p := j.plan
	root, err := os.OpenRoot(p.Rootfs)
	if err != nil {
		return err
	}
	defer root.Close()
	name := livePath(path)[1:]
	tmp := filepath.Join(filepath.Dir(name), "."+filepath.Base(name))
	if err := root.Remove(tmp); err != nil && !os.IsNotExist(err) {
		return err
	}
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(0o644) // whatever the umask is
	}
	if err == nil && !p.Rootless {
		err = f.Chown(int(p.IDs.HostUID), int(p.IDs.HostGID))
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = root.Rename(tmp, name)
	}
	if err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return nil
}
