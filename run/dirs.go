package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Dirs are the folders that agentjail keeps things in, by the XDG Base Directory
// Specification.
type Dirs struct {
	Config  []string // of profiles: the user's, then the machine's
	State   string   // runs/<id>: trail, changes, artifacts
	Runtime string   // <id>: what lives as long as a run; on tmpfs where there is one
	UIDs    string   // locks of claimed uid ranges; root only
}

// findDirs decides the folders from the environment.
func findDirs(getenv func(string) string, home string, uid int) (Dirs, error) {
	base := func(name, fallback string) (string, error) {
		if v := getenv(name); filepath.IsAbs(v) { // "must be absolute", says the specification
			return filepath.Clean(v), nil
		}
		if home == "" {
			return "", fmt.Errorf("neither %s nor HOME is set\nhint: agentjail keeps its trails there; set one of them", name)
		}
		return filepath.Join(home, fallback), nil
	}
	config, err := base("XDG_CONFIG_HOME", ".config")
	if err != nil {
		return Dirs{}, err
	}
	state, err := base("XDG_STATE_HOME", ".local/state")
	if err != nil {
		return Dirs{}, err
	}
	d := Dirs{
		Config: []string{filepath.Join(config, "agentjail", "profiles"), "/etc/agentjail/profiles"},
		State:  filepath.Join(state, "agentjail"),
		UIDs:   "/run/agentjail/uids",
	}
	switch run := getenv("XDG_RUNTIME_DIR"); {
	case uid == 0:
		// Root's is shared by all of root's sessions, so that recovery and uid claims
		// see every run.
		d.Runtime = "/run/agentjail/runs"
	case filepath.IsAbs(run):
		d.Runtime = filepath.Join(run, "agentjail")
	default:
		// No session (su, cron, CI): a name in /tmp that anybody can foresee, so it
		// counts only if it is ours (makePrivate).
		d.Runtime = filepath.Join(os.TempDir(), "agentjail-"+strconv.Itoa(uid))
	}
	return d, nil
}

// makePrivate makes a folder that only its owner can write, or finds it so. A
// folder that somebody else made first is refused (CVE-2022-31214, CVE-2021-44731).
// others lets the rest of the world pass through, for the jail's own user.
func makePrivate(dir string, uid int, others fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	mode := 0o700 | others
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if int(st.Uid) != uid || st.Mode&0o022 != 0 {
		return fmt.Errorf("folder %s does not belong to uid %d alone\nhint: somebody else made it first; look at it, then remove it", dir, uid)
	}
	if fs.FileMode(st.Mode&0o777) != mode {
		return os.NewSyscallError("fchmod", unix.Fchmod(fd, uint32(mode)))
	}
	return nil
}
