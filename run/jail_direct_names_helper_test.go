package run_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// namesMain gives two names in each way that there is, one that the gate protects and one
// that it does not, and says what it was answered. Then it waits, so that the test can look
// at the host meanwhile.
func namesMain([]string) int {
	answers := map[string][2]string{}
	for way, give := range waysToName() {
		var got [2]string
		for i, suffix := range []string{".mk", ".ok"} {
			got[i] = "done"
			if err := give(way + suffix); err != nil {
				var e unix.Errno
				got[i] = err.Error()
				if errors.As(err, &e) {
					got[i] = unix.ErrnoName(e)
				}
			}
		}
		answers[way] = got
	}
	line, err := json.Marshal(answers)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Printf("%s\ntried\n", line)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	return 0
}

// waysToName needs a folder "sub" and a symlink "here" to the working folder.
func waysToName() map[string]func(name string) error {
	const create = unix.O_CREAT | unix.O_WRONLY
	dot := must(unix.Open(".", unix.O_PATH|unix.O_DIRECTORY, 0))
	sub := must(unix.Open("sub", unix.O_RDONLY|unix.O_DIRECTORY, 0))
	cwd, _ := os.Getwd()
	opened := func(fd int, err error) error {
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	at := func(prefix string) func(string) error {
		return func(name string) error { return opened(unix.Open(prefix+name, create, 0o600)) }
	}
	// thing is a file or folder with an ordinary name, which is about to get another.
	thing := func(name string, folder bool) string {
		from := "from-" + name + ".x"
		if folder {
			_ = os.Mkdir(from, 0o700)
		} else {
			_ = os.WriteFile(from, nil, 0o600)
		}
		return from
	}
	raw := func(nr uintptr, arg, more uintptr) func(string) error {
		return func(name string) error {
			p, _ := unix.BytePtrFromString(name)
			r, _, e := unix.Syscall(nr, uintptr(unsafe.Pointer(p)), arg, more)
			if e != 0 {
				return e
			}
			if nr == 2 || nr == 85 {
				unix.Close(int(r))
			}
			return nil
		}
	}
	raw2 := func(nr uintptr, from func(string) string) func(string) error {
		return func(name string) error {
			f, _ := unix.BytePtrFromString(from(name))
			p, _ := unix.BytePtrFromString(name)
			if _, _, e := unix.Syscall(nr, uintptr(unsafe.Pointer(f)), uintptr(unsafe.Pointer(p)), 0); e != 0 {
				return e
			}
			return nil
		}
	}
	file := func(name string) string { return thing(name, false) }
	ways := map[string]func(string) error{
		"openat":         at(""),
		"openat-dirfd":   func(name string) error { return opened(unix.Openat(sub, name, create, 0o600)) },
		"openat-dotdot":  func(name string) error { return opened(unix.Openat(sub, "../"+name, create|unix.O_EXCL, 0o600)) },
		"absolute":       at(cwd + "/"),
		"dotdot":         at("sub/../"),
		"slashes":        at(".//sub///..//./"),
		"symlink-parent": at("here/here/"),
		"symlink-dotdot": at("here/../" + filepath.Base(cwd) + "/"),
		"proc-cwd":       at("/proc/self/cwd/"),
		"proc-thread":    at("/proc/thread-self/cwd/"),
		"proc-root":      at("/proc/self/root" + cwd + "/"),
		"proc-pid":       at(fmt.Sprintf("/proc/%d/cwd/", os.Getpid())),
		"proc-fd":        at(fmt.Sprintf("/proc/self/fd/%d/", sub)),
		"dev-fd":         at(fmt.Sprintf("/dev/fd/%d/", dot)),
		"openat2": func(name string) error {
			return opened(unix.Openat2(dot, name, &unix.OpenHow{Flags: create, Mode: 0o600}))
		},
		"openat2-in-root": func(name string) error {
			return opened(unix.Openat2(sub, "/../"+name, &unix.OpenHow{Flags: create, Mode: 0o600, Resolve: unix.RESOLVE_IN_ROOT}))
		},
		"dangling": func(name string) error {
			link := "dangling-" + name + ".x"
			_ = os.Symlink("sub/../"+name, link)
			return opened(unix.Open(link, create, 0o600))
		},
		"dangling-absolute": func(name string) error {
			link := "dangling-" + name + ".x"
			_ = os.Symlink(cwd+"/here/"+name, link)
			return opened(unix.Open("sub/../"+link, create|unix.O_TRUNC, 0o600))
		},
		"cwd-below": func(name string) error {
			// The working folder is of all threads.
			if err := os.Chdir("sub"); err != nil {
				return err
			}
			defer func() { _ = os.Chdir("..") }()
			return opened(unix.Open("../"+name, create, 0o600))
		},
		"mkdirat":       func(name string) error { return unix.Mkdirat(dot, name, 0o700) },
		"mkdirat-slash": func(name string) error { return unix.Mkdirat(unix.AT_FDCWD, "sub/"+name+"//", 0o700) },
		"mknodat":       func(name string) error { return unix.Mknodat(unix.AT_FDCWD, name, unix.S_IFREG|0o600, 0) },
		"fifo":          func(name string) error { return unix.Mkfifo(name, 0o600) },
		"symlinkat":     func(name string) error { return unix.Symlinkat("/etc/passwd", dot, name) },
		"linkat":        func(name string) error { return unix.Linkat(unix.AT_FDCWD, file(name), dot, name, 0) },
		"tmpfile": func(name string) error {
			fd, err := unix.Open(".", unix.O_TMPFILE|unix.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
		},
		"renameat":  func(name string) error { return unix.Renameat(dot, file(name), unix.AT_FDCWD, "sub/"+name) },
		"renameat2": func(name string) error { return unix.Renameat2(dot, file(name), dot, name, unix.RENAME_NOREPLACE) },
		"rename-folder": func(name string) error {
			return unix.Renameat2(unix.AT_FDCWD, thing(name, true), unix.AT_FDCWD, name, 0)
		},
		// Both names are given: what is at the first one now is to be at the second.
		"exchange": func(name string) error {
			return unix.Renameat2(unix.AT_FDCWD, "there"+filepath.Ext(name), unix.AT_FDCWD, thing(name, true), unix.RENAME_EXCHANGE)
		},
		"bind": func(name string) error {
			s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			defer unix.Close(s)
			return unix.Bind(s, &unix.SockaddrUnix{Name: name})
		},
	}
	if runtime.GOARCH == "amd64" { // the old calls, by their numbers (syscall_64.tbl)
		ways["open"], ways["creat"] = raw(2, create, 0o600), raw(85, 0o600, 0)
		ways["mkdir"], ways["mknod"] = raw(83, 0o700, 0), raw(133, unix.S_IFREG|0o600, 0)
		ways["link"], ways["rename"] = raw2(86, file), raw2(82, file)
		ways["symlink"] = raw2(88, func(string) string { return "target" })
	}
	return ways
}

func must(fd int, err error) int {
	if err != nil {
		panic(err)
	}
	return fd
}

// rewriting calls openat with O_CREAT while another thread rewrites one byte of the path.
// What was let through by one name is made by the other where the kernel reads the path
// after the byte has changed.
func rewriting(path string, at int, bytes string, each func() (enough bool)) (tries int) {
	text := append([]byte(path), 0)
	var stop atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		for n := 0; !stop.Load(); n++ {
			text[at] = bytes[n%len(bytes)]
		}
	}()
	const here = ^uintptr(99) // AT_FDCWD
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		fd, _, e := unix.Syscall6(unix.SYS_OPENAT, here, uintptr(unsafe.Pointer(&text[0])), unix.O_CREAT|unix.O_WRONLY, 0o600, 0, 0)
		if e == 0 {
			unix.Close(int(fd))
		}
		if tries++; each() {
			break
		}
	}
	stop.Store(true)
	<-ended
	return tries
}

// namesRaceMain tries to make "race.mk" by way of "race.ok" until it is there, and to get
// something into ".vscode", or to have another in its place, 1000 times.
func namesRaceMain([]string) int {
	there := func(name string) bool { _, err := os.Lstat(name); return err == nil }
	won := false
	tries := rewriting("race.ok", 5, "om", func() bool {
		won = there("race.mk")
		_ = os.Remove("race.ok")
		return won
	})
	_ = os.Mkdir("xvscode", 0o700)
	inside, rounds := 0, 0
	rewriting("xvscode/file", 0, "x.", func() bool {
		_ = unix.Rmdir(".vscode")
		_ = unix.Rename(".vscode", "gone")
		_ = unix.Rename("xvscode", ".vscode")
		if there(".vscode/file") || there("gone") || !there("xvscode") || !there(".vscode") {
			inside++
		}
		_ = os.Remove("xvscode/file")
		rounds++
		return rounds == 1000
	})
	fmt.Printf("won %v, inside %d\ntried\n", won, inside)
	fmt.Fprintf(os.Stderr, "%d tries, %d rounds\n", tries, rounds)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	return 0
}
