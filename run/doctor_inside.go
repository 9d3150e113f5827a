package run

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// insideTimeout bounds what the kernel of a working jail answers at once.
const insideTimeout = 5 * time.Second

// probeInJail is the agent of doctor's own jail. It asks the network for what every
// profile refuses, so that the gateway starts and says how it is confined.
func probeInJail(string) (string, error) {
	var found []string
	if term.IsTerminal(int(os.Stdin.Fd())) {
		found = append(found, insideTerminal)
	}
	ctx, cancel := context.WithTimeout(context.Background(), insideTimeout)
	defer cancel()
	// .invalid is a name that nobody has (RFC 6761), 192.0.2.0/24 an address (RFC 5737).
	_, err := (&net.Resolver{PreferGo: true}).LookupHost(ctx, "doctor.invalid")
	var dns *net.DNSError
	switch {
	case err == nil:
		return "", errors.New("the jail's name server answered for a name that no profile allows")
	case errors.As(err, &dns) && dns.IsTimeout:
		return "", fmt.Errorf("the jail's name server does not answer: %w", err)
	}
	found = append(found, insideDNS)
	conn, err := net.DialTimeout("tcp", "192.0.2.1:81", insideTimeout)
	switch {
	case err == nil:
		conn.Close()
		return "", errors.New("a connection that no profile allows was made")
	case !errors.Is(err, unix.ECONNREFUSED):
		return "", fmt.Errorf("a connection that no profile allows was not refused at once: %w", err)
	}
	return strings.Join(append(found, insideRefused), ","), nil
}

// What probeInJail found, in its detail.
const (
	insideTerminal = "terminal"
	insideDNS      = "dns"
	insideRefused  = "refused"
)

// The limits of doctor's second jail, and how far its agent goes beyond them.
const (
	probeMemory    = 96 << 20
	probeProcesses = 64
	tooMuchMemory  = 2 * probeMemory
	tooManyForks   = 2 * probeProcesses
)

// probeInLimits is the agent of the second jail: it must not get more processes and
// memory than its limits.
func probeInLimits(string) (string, error) {
	if err := forkTooMany(); err != nil {
		return "", err
	}
	return "", touchTooMuch()
}

func forkTooMany() error {
	var pids []int
	defer func() {
		for _, pid := range pids {
			// They exist until they are killed and waited for, here and nowhere else.
			_ = unix.Kill(pid, unix.SIGKILL)
			_, _ = unix.Wait4(pid, nil, 0, nil)
		}
	}()
	for range tooManyForks {
		pid, errno := forkRaw(nil)
		if errno == unix.EAGAIN {
			return nil
		}
		if errno != 0 {
			return fmt.Errorf("fork: %w", errno)
		}
		pids = append(pids, pid)
	}
	return fmt.Errorf("%d processes could be made under a limit of %d", tooManyForks, probeProcesses)
}

func touchTooMuch() error {
	mem, err := unix.Mmap(-1, 0, tooMuchMemory, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	defer unix.Munmap(mem)
	pid, errno := forkRaw(mem)
	if errno != 0 {
		return fmt.Errorf("fork: %w", errno)
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, 0, nil); err != nil {
		return os.NewSyscallError("wait4", err)
	}
	if !ws.Signaled() || ws.Signal() != unix.SIGKILL {
		return fmt.Errorf("%d MiB of memory could be used under a limit of %d MiB (is there swap that the limit does not count?)", tooMuchMemory>>20, probeMemory>>20)
	}
	return nil
}

// forkRaw forks a child that writes to every page of mem and exits, or that waits for
// its end where mem is nil. The child has one thread and no Go runtime behind it: it
// must not call, allocate or grow its stack.
//
//go:norace
//go:noinline
func forkRaw(mem []byte) (int, syscall.Errno) {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return int(pid), errno
	}
	if mem == nil {
		for {
			syscall.RawSyscall(syscall.SYS_PPOLL, 0, 0, 0)
		}
	}
	for i := 0; i < len(mem); i += 4096 {
		mem[i] = 1
	}
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	}
}
