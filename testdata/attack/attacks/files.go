package attacks

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// gone are the answers of a jail in which a path does not exist at all. The jail's own
// /tmp may hold the folders that lead to what the profile grants, and nothing beside it.
func gone() Stop { return by(FileView, "ENOENT", "ENOTDIR") }

// files are attacks on the host's files: groups A and B of the list.
func files() []Attack {
	// plainly is an attack that is tried in the same way without a jail.
	plainly := func(id string, line int, what, class string, try func(*Target) string, stops ...Stop) Attack {
		return Attack{ID: id, Line: line, What: what, Class: class, Try: try, Without: Plain, Stopped: stops}
	}
	return []Attack{
		plainly("write-runtime", 1, "write to agentjail's own program", "CVE-2019-5736",
			func(t *Target) string { return open(t.Agentjail, os.O_WRONLY) }, gone(), by(ReadOnly, "EROFS"), by(Landlock, "EACCES")),
		plainly("descriptor-inherited", 2, "use a descriptor that agentjail inherited", "CVE-2024-21626",
			descriptorAttack, by(Descriptors, "none")),
		plainly("descriptor-dotdot", 2, "reach a host file by an inherited folder and ..", "CVE-2024-21626",
			dotdotAttack, by(Descriptors, "none")),
		plainly("cwd-dotdot", 2, "reach a host file from the working folder by ..", "CVE-2024-21626",
			func(t *Target) string { return read("/proc/self/cwd" + strings.Repeat("/..", 64) + t.Key) }, gone()),
		plainly("key-direct", 12, "read a private key", "a credential in reach",
			func(t *Target) string { return read(t.Key) }, gone()),
		plainly("key-self-root", 12, "read a private key by /proc/self/root", "CVE-2026-25724: an alias of a denied path",
			func(t *Target) string { return read("/proc/self/root" + t.Key) }, gone()),
		plainly("key-pid-root", 12, "read a private key by /proc/PID/root", "an alias of a denied path",
			func(t *Target) string { return read(sprint("/proc/%d/root%s", t.ProcPID, t.Key)) }, gone(), by(UserNS, "EACCES", "EPERM")),
		plainly("key-pid-cwd", 12, "read a private key by /proc/PID/cwd", "an alias of a denied path",
			func(t *Target) string {
				return read(sprint("/proc/%d/cwd%s%s", t.ProcPID, strings.Repeat("/..", 64), t.Key))
			}, gone(), by(UserNS, "EACCES", "EPERM")),
		plainly("key-workspace-link", 8, "read a private key by a symlink in the workspace", "CVE-2024-42472, CVE-2026-39861, CVE-2026-34078",
			func(t *Target) string { return read(t.Workspace + "/out/" + filepath.Base(t.Key)) }, gone()),
		plainly("home-list", 12, "list the folder that the private key's is in", "a credential in reach",
			func(t *Target) string { return listAttack(filepath.Dir(t.Key)) }, gone()),
		{ID: "home-real", Line: 12, What: "list the caller's .ssh", Class: "a credential in reach",
			Try: func(t *Target) string { return listAttack(t.Home + "/.ssh") }, Without: Looked,
			Look: func(t *Target) string { return present(t.Home + "/.ssh") }, Stopped: []Stop{gone(), by(Landlock, "EACCES"), by(FileView, "empty")}},
		plainly("beside-read", 12, "read a file beside the workspace", "CVE-2026-25724",
			func(t *Target) string { return read(t.Outside) }, gone()),
		plainly("beside-write", 13, "write to a file beside the workspace", "a write outside of the workspace",
			func(t *Target) string { return writeMark(t, t.Outside) }, gone()),
		plainly("beside-create", 13, "create a file beside the workspace", "a write outside of the workspace",
			func(t *Target) string { return createMark(t, t.Dropbox) }, gone()),
		plainly("profile-write", 13, "write to the jail's own profile", "a jail that opens itself",
			func(t *Target) string { return writeMark(t, t.Profile) }, gone()),
		plainly("state-write", 13, "create a file in agentjail's state folder", "a jail that forges its record",
			func(t *Target) string { return createMark(t, t.State) }, gone()),
		{ID: "workspace-write", Line: 13, What: "change the host's file in the workspace", Class: "changes that nobody has looked at",
			Try: func(t *Target) string { return writeMark(t, t.Workspace+"/inside.txt") }, Without: Plain, ByMark: true,
			Needs: func(t *Target) string {
				if t.Direct {
					return "a workspace that is not direct: the profile gives the agent the host's own files"
				}
				return ""
			},
			Stopped: []Stop{by(Overlay, "ok"), gone(), by(ReadOnly, "EROFS"), by(Landlock, "EACCES")}},
		plainly("denied-direct", 12, "read what the profile denies in a granted folder", "CVE-2026-25724",
			func(t *Target) string { return deniedAttack(t.Readonly + "/denied") }, masked()...),
		plainly("denied-dotdot", 12, "read what the profile denies by ..", "CVE-2026-25724",
			func(t *Target) string { return deniedAttack(t.Readonly + "/../readonly/./denied") }, masked()...),
		plainly("denied-self-root", 12, "read what the profile denies by /proc/self/root", "CVE-2026-25724",
			func(t *Target) string { return deniedAttack("/proc/self/root" + t.Readonly + "/denied") }, masked()...),
		plainly("denied-symlink", 12, "read what the profile denies by a symlink of one's own", "CVE-2026-25724",
			func(t *Target) string {
				return in(func(dir string) string {
					if err := os.Symlink(t.Readonly+"/denied", dir+"/alias"); err != nil {
						return answer(err)
					}
					return deniedAttack(dir + "/alias")
				})
			}, masked()...),
		plainly("denied-dev-fd", 12, "read what the profile denies by /dev/fd", "CVE-2026-25724",
			func(t *Target) string {
				dir, err := os.Open(t.Readonly)
				if err != nil {
					return answer(err)
				}
				defer dir.Close()
				return deniedAttack(sprint("/proc/self/fd/%d/denied", dir.Fd()))
			}, masked()...),
		plainly("denied-thread-root", 76, "read what the profile denies by /proc/thread-self/root", "CVE-2026-25724",
			func(t *Target) string { return deniedAttack("/proc/thread-self/root" + t.Readonly + "/denied") }, masked()...),
		plainly("denied-cwd", 76, "read what the profile denies by /proc/self/cwd", "CVE-2026-25724",
			func(t *Target) string {
				return deniedAttack("/proc/self/cwd/../" + filepath.Base(t.Readonly) + "//denied")
			}, masked()...),
		plainly("denied-host-symlink", 76, "read what the profile denies by a symlink of the host's", "CVE-2026-25724",
			func(t *Target) string { return deniedAttack(t.Readonly + "/alias") }, masked()...),
		plainly("denied-case", 76, "read what the profile denies in other letters", "CVE-2026-25724: file systems that fold case",
			func(t *Target) string { return deniedAttack(t.Readonly + "/DENIED") }, masked()...),
		plainly("denied-hard-link", 12, "read what the profile denies by a hard link of one's own", "CVE-2026-25724",
			func(t *Target) string {
				alias := filepath.Join(t.Dropbox, t.Mark())
				if err := os.Link(t.Readonly+"/denied", alias); err != nil {
					return answer(err)
				}
				defer os.Remove(alias)
				return deniedAttack(alias)
			}, append(masked(), gone(), by(ReadOnly, "EROFS", "EXDEV"))...),
		{ID: "setup-tree", Line: 21, What: "find the host's tree that the jail was built from", Class: "a mount that was left behind",
			Try: func(t *Target) string { return listAttack("/run/agentjail/setup/host") }, Without: Inside,
			Stopped: []Stop{by(FileView, "empty", "ENOENT"), by(Landlock, "EACCES")}},
		{ID: "setup-tree-key", Line: 21, What: "read a private key by the tree that the jail was built from", Class: "a mount that was left behind",
			Try: func(t *Target) string { return read("/run/agentjail/setup/host" + t.Key) }, Without: Inside,
			Stopped: []Stop{gone(), by(Landlock, "EACCES")}},
		{ID: "landlock-only", Line: 39, What: "read a file of the jail that no rule grants", Class: "a hole in the file view",
			Try: func(t *Target) string { return read("/run/agentjail/canary") }, Without: Inside,
			Stopped: []Stop{by(Landlock, "EACCES")}},
	}
}

func masked() []Stop { return []Stop{by(FileView, "empty", "ENOENT"), by(Landlock, "EACCES")} }

// deniedAttack says "ok" only where what is denied was really read: a mask is an empty
// file.
func deniedAttack(path string) string {
	data, err := os.ReadFile(path)
	if err == nil && len(data) == 0 {
		return "empty"
	}
	return answer(err)
}

func listAttack(dir string) string {
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) == 0 {
		return "empty"
	}
	return answer(err)
}

// writeMark appends the mark to a file.
func writeMark(t *Target, path string) string {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return answer(err)
	}
	defer f.Close()
	_, err = f.WriteString("# " + t.Mark() + "\n")
	return answer(err)
}

// createMark makes a file that is called by the mark.
func createMark(t *Target, dir string) string {
	f, err := os.OpenFile(filepath.Join(dir, t.Mark()), os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		f.Close()
	}
	return answer(err)
}

// inherited lists the descriptors that neither the three streams nor Go's own runtime
// account for.
func inherited() map[int]string {
	found := map[int]string{}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return map[int]string{-1: answer(err)}
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		to, lerr := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || n <= 2 || lerr != nil || strings.HasPrefix(to, "anon_inode:") || strings.HasPrefix(to, "/proc/") {
			continue
		}
		found[n] = to
	}
	return found
}

func descriptorAttack(*Target) string {
	if fds := inherited(); len(fds) > 0 {
		return sprint("ok: %v", fds)
	}
	return "none"
}

func dotdotAttack(t *Target) string {
	for fd := range inherited() {
		f, err := unix.Openat(fd, strings.Repeat("../", 64)+strings.TrimPrefix(t.Key, "/"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(f)
			return "ok"
		}
	}
	return "none"
}

// readonlyFiles are attacks on a folder that the profile only reads. Landlock gives what
// lies below /tmp the rights of /tmp, so the mount is often the only layer.
func readonlyFiles() []Attack {
	stops := []Stop{by(ReadOnly, "EROFS"), by(Landlock, "EACCES"), by(FileView, "EXDEV")}
	make := func(id string, line int, what string, try func(t *Target, file string) error) Attack {
		return Attack{ID: id, Line: line, What: what, Class: "a change of what is granted for reading", Without: Plain, Stopped: stops,
			Try: func(t *Target) string { return answer(try(t, t.Readonly+"/file")) }}
	}
	// None of them stands in another's way: what is removed or renamed is put back.
	return []Attack{
		make("readonly-write", 39, "write to a read-only file", func(t *Target, p string) error { return os.WriteFile(p, []byte("read only\n"), 0) }),
		make("readonly-truncate", 39, "truncate a read-only file", func(t *Target, p string) error { return os.Truncate(p, 10) }),
		make("readonly-link", 39, "link a read-only file across folders", func(t *Target, p string) error {
			to := filepath.Join(t.Readonly, "sub", t.Mark())
			defer os.Remove(to)
			return os.Link(p, to)
		}),
		make("readonly-rename", 39, "rename a read-only file across folders", func(t *Target, p string) error {
			to := filepath.Join(t.Readonly, "sub", t.Mark())
			err := os.Rename(p, to)
			if err == nil {
				_ = os.Rename(to, p)
			}
			return err
		}),
		make("readonly-remove", 39, "remove a read-only folder", func(t *Target, p string) error {
			err := os.Remove(t.Readonly + "/empty")
			if err == nil {
				_ = os.Mkdir(t.Readonly+"/empty", 0o755)
			}
			return err
		}),
		make("readonly-mkdir", 39, "make a folder beside a read-only file", func(t *Target, p string) error {
			to := filepath.Join(t.Readonly, t.Mark())
			defer os.Remove(to)
			return os.Mkdir(to, 0o700)
		}),
		make("readonly-chmod", 43, "chmod a read-only file", func(t *Target, p string) error { return os.Chmod(p, 0o644) }),
		make("readonly-chown", 43, "chown a read-only file", func(t *Target, p string) error { return os.Lchown(p, os.Getuid(), os.Getgid()) }),
		make("readonly-utime", 43, "set the times of a read-only file", func(t *Target, p string) error {
			return unix.Utimes(p, []unix.Timeval{{Sec: 1}, {Sec: 1}})
		}),
		make("readonly-setxattr", 43, "set an attribute of a read-only file", func(t *Target, p string) error {
			return unix.Setxattr(p, "user.agentjail", []byte("x"), 0)
		}),
		make("readonly-acl", 43, "set the access list of a read-only file", func(t *Target, p string) error {
			// struct posix_acl_xattr, version 2: the owner's, the group's and the others'
			// entries, as a mode of 0644 has them (linux/posix_acl_xattr.h).
			acl := []byte{2, 0, 0, 0}
			for _, e := range [][2]byte{{1, 6}, {4, 4}, {32, 4}} {
				acl = append(acl, e[0], 0, e[1], 0, 0xff, 0xff, 0xff, 0xff)
			}
			return unix.Setxattr(p, "system.posix_acl_access", acl, 0)
		}),
	}
}

// setup are attacks on how the jail is made, seen from its first instruction.
func setup() []Attack {
	race := func(id, what string, try func(pid int) error) Attack {
		return Attack{ID: id, Line: 3, What: what, Class: "CVE-2016-9962", Without: Plain,
			Stopped: []Stop{by(HidePID, "ENOENT"), by(UserNS, "EACCES", "EPERM")},
			Try: func(t *Target) string {
				last := "ENOENT"
				for range 200 {
					if last = answer(try(t.ProcPID)); last == "ok" {
						break
					}
				}
				return last
			}}
	}
	opens := func(file string, flags int) func(int) error {
		return func(pid int) error {
			f, err := os.OpenFile(fmt.Sprintf("/proc/%d/%s", pid, file), flags, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			if flags == os.O_RDONLY && file != "fd" && file != "root" {
				if _, err = f.Read(make([]byte, 1)); err != nil && err.Error() == "EOF" {
					err = nil
				}
			}
			return err
		}
	}
	return []Attack{
		race("pid1-fd", "open the descriptors of PID 1, again and again from the first moment on", opens("fd", os.O_RDONLY)),
		race("pid1-mem", "open the memory of PID 1 for writing", opens("mem", os.O_RDWR)),
		race("pid1-root", "open the root folder of PID 1", opens("root", os.O_RDONLY)),
		race("pid1-environ", "read the environment of PID 1", opens("environ", os.O_RDONLY)),
		race("pid1-maps", "read the memory map of PID 1", opens("maps", os.O_RDONLY)),
		race("pid1-cwd", "follow the working folder of PID 1", func(pid int) error { _, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); return err }),
		race("pid1-exe", "follow the program of PID 1", func(pid int) error { _, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); return err }),
		race("pid1-ns", "open a namespace of PID 1", opens("ns/net", os.O_RDONLY)),
	}
}
