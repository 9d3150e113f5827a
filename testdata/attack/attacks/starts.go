package attacks

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Memory becomes a copy of a program that has no name: args are the program and what it
// is started with.
func Memory(args []string) int {
	if len(args) < 2 {
		return 1
	}
	data, err := os.ReadFile(args[0])
	if err == nil {
		var fd int
		if fd, err = unix.MemfdCreate("copy", unix.MFD_CLOEXEC); err == nil {
			_, err = unix.Write(fd, data)
		}
		if err == nil {
			err = unix.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), args[1:], os.Environ())
		}
	}
	fmt.Fprintf(os.Stderr, "agentjail-attack: %v\n", err)
	return 1
}

// Self becomes this program once more, by the kernel's own link to it.
func Self(args []string) int {
	err := unix.Exec("/proc/self/exe", append([]string{"self"}, args...), os.Environ())
	fmt.Fprintf(os.Stderr, "agentjail-attack: %v\n", err)
	return 1
}

// Reach connects to an address and leaves the mark of args[1] there.
func Reach(args []string) int {
	if len(args) != 2 {
		return 1
	}
	conn, err := net.DialTimeout("tcp", args[0], dialTimeout)
	if err != nil {
		return 1
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(dialTimeout))
	if _, err := io.WriteString(conn, Mark(args[1])); err != nil {
		return 1
	}
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, conn) // until the other side has read it
	return 0
}

// Machine shows a program another machine: the same one, with a ceiling that is the
// text args[1]. args[0] is an empty folder to make it in, the rest the program. It only
// works as root of a user and mount namespace of its own, so that the host's /etc stays
// as it is.
func Machine(args []string) int {
	if len(args) < 3 {
		return 1
	}
	err := ownNamespace()
	if err == nil {
		err = newMachine(args[0], args[1])
	}
	if err == nil {
		err = unix.Exec(args[2], args[2:], os.Environ())
	}
	fmt.Fprintf(os.Stderr, "agentjail-attack: %v\n", err)
	return 1
}

// newMachine makes a root folder and changes to it. Everything in it is the old one's
// but /run, where agentjail keeps its runs, and /etc: agentjail takes no ceiling from a
// folder that is not root's, and who is root here can only own what he makes.
func newMachine(dir, ceiling string) error {
	work, err := os.Getwd()
	if err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
		return os.NewSyscallError("mount", err)
	}
	if err := mirror("/", dir, "etc", "run"); err != nil {
		return err
	}
	for _, name := range []string{"etc", "run", "etc/agentjail"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	if err := mirror("/etc", filepath.Join(dir, "etc"), "agentjail"); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "etc/agentjail/ceiling.hcl"), []byte(ceiling), 0o644); err != nil {
		return err
	}
	if err := unix.Chdir(dir); err != nil {
		return err
	}
	// The old root ends below the new one's, and goes (pivot_root(2)).
	if err := unix.PivotRoot(".", "."); err != nil {
		return os.NewSyscallError("pivot_root", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return os.NewSyscallError("umount", err)
	}
	return unix.Chdir(work)
}

// mirror binds all that is in a folder into another one, but for some names.
func mirror(from, to string, but ...string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		source, target := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		if slices.Contains(but, e.Name()) {
			continue
		}
		switch {
		case e.Type()&os.ModeSymlink != 0:
			var link string
			if link, err = os.Readlink(source); err == nil {
				err = os.Symlink(link, target)
			}
		case e.IsDir():
			if err = os.Mkdir(target, 0o755); err == nil {
				err = unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, "")
			}
		default:
			if err = os.WriteFile(target, nil, 0o644); err == nil {
				err = unix.Mount(source, target, "", unix.MS_BIND, "")
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
	}
	return nil
}
