package attacks

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// limits are attacks on what a process may use.
func limits() []Attack {
	return []Attack{
		{ID: "raise-limit", Line: 65, What: "raise the hard limit of open files", Class: "a limit that is lifted", Without: Plain,
			Try: func(*Target) string {
				var l unix.Rlimit
				if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
					return answer(err)
				}
				l.Max++
				return answer(unix.Setrlimit(unix.RLIMIT_NOFILE, &l))
			}, Stopped: []Stop{by(UserNS, "EPERM")}},
		{ID: "realtime", Line: 65, What: "get realtime scheduling", Class: "a CPU that is taken away", Without: Plain | Nested,
			Try: func(*Target) string {
				return inThread(func() string {
					return answer(unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0))
				})
			}, Stopped: []Stop{by(UserNS, "EPERM")}},
		{ID: "nice", Line: 65, What: "get a higher priority", Class: "a CPU that is taken away", Without: Plain,
			Try: func(*Target) string {
				return inThread(func() string { return answer(unix.Setpriority(unix.PRIO_PROCESS, 0, -5)) })
			}, Stopped: []Stop{by(UserNS, "EACCES", "EPERM")}},
		{ID: "oom-score", Line: 65, What: "be the last one to be killed when memory is short", Class: "memory that is taken away", Without: Plain,
			Try: func(*Target) string { return answer(os.WriteFile("/proc/self/oom_score_adj", []byte("-500"), 0)) }, Stopped: []Stop{by(UserNS, "EACCES", "EPERM"), by(ReadOnly, "EROFS")}},
	}
}

// life are attacks on what is recorded and what is left over.
func life() []Attack {
	return []Attack{
		{ID: "trail-injection", Line: 66, What: "write a line of its own into the trail by a program's arguments", Class: "CVE-2021-44228 and others: log injection", Without: Inside,
			Try: func(t *Target) string {
				evil := "\n{\"class_uid\":6002,\"message\":\"" + t.Mark() + "\"}\n\x1b[2J\x1b]52;c;eA==\x07\xff\xfe" + strings.Repeat("A", 100<<10)
				return ending([]byte("ok"), exec.Command("/bin/true", evil, t.Mark()).Run())
			}, Stopped: []Stop{by(Trail, "ok", "ENOENT")}, Record: &Record{"exec", "", "MARK"}},
		{ID: "deep-tree", Line: 9, What: "leave a tree that can't be removed", Class: "CVE-2026-34079: a wipe that goes astray", Without: Inside,
			Try: deepTreeAttack, Stopped: []Stop{by(Wipe, "ok")}},
		{ID: "artifacts-names", Line: 74, What: "hand out symlinks, pipes, devices and setuid programs as artifacts", Class: "CVE-2026-34078: an artifact that is more than a file", Without: Inside,
			Try: artifactsAttack, Stopped: []Stop{by(Artifacts, "ok", "ENOENT", "EROFS", "EACCES")}},
	}
}

// deepTreeAttack makes folders that are deeper than any path is long, folders that
// nobody may enter, names that are no UTF-8, and links to what is not its own, in the
// workspace and in the jail's temporary folder.
func deepTreeAttack(t *Target) string {
	// A hundred folders deeper than PATH_MAX (4096) with these names.
	const depth, folder = 150, "0123456789012345678901234567890"
	for _, root := range []string{t.Workspace, "/tmp"} {
		top, err := os.MkdirTemp(root, "deep")
		if err != nil {
			continue
		}
		fd, err := unix.Open(top, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		for i := 0; err == nil && i < depth; i++ {
			if err = unix.Mkdirat(fd, folder, 0o700); err == nil {
				var next int
				next, err = unix.Openat(fd, folder, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
				unix.Close(fd)
				fd = next
			}
		}
		if err == nil {
			unix.Close(fd)
		}
		_ = os.Symlink(t.Outside, filepath.Join(top, "link"))
		_ = os.Symlink(filepath.Dir(t.Key), filepath.Join(top, "folder-link"))
		_ = os.WriteFile(filepath.Join(top, "\xff\xfe not utf-8 \n"), nil, 0)
		_ = os.MkdirAll(filepath.Join(top, "closed", "inner"), 0o700)
		_ = os.Chmod(filepath.Join(top, "closed"), 0)
	}
	return "ok"
}

// artifactsAttack fills the folder that the suite collects.
func artifactsAttack(t *Target) string {
	out := filepath.Join(t.Workspace, "collected")
	if err := os.Mkdir(out, 0o755); err != nil {
		return answer(err)
	}
	_ = os.Symlink(t.Key, out+"/link")
	_ = os.Symlink(filepath.Dir(t.Key), out+"/folder")
	_ = unix.Mkfifo(out+"/pipe", 0o666)
	_ = os.WriteFile(out+"/setuid", []byte("#!/bin/sh\n"), 0o755)
	_ = unix.Chmod(out+"/setuid", 0o6755)
	_ = os.WriteFile(out+"/-rf", nil, 0o644)
	_ = os.WriteFile(out+"/\x1b[2J\n", nil, 0o644)
	return "ok"
}
