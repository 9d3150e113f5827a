package netns

import (
	"errors"
	"fmt"
	"os"

	"github.com/agentjail/agentjail/audit"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// secondStep finishes the confinement, and makes sure by trying that both steps
// hold. What it returns is what was found, not what was asked for.
func secondStep() ([]audit.Layer, error) {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("make the process undumpable: %w", err)
	}
	// Landlock first: seccomp would hide whether it is there.
	abi, err := probeLandlock()
	if err != nil {
		return nil, err
	}
	if has, err := capabilities(); err != nil {
		return nil, err
	} else if has {
		return nil, errors.New("the gateway still has capabilities after it dropped them")
	}
	if n, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err != nil || n != 1 {
		return nil, fmt.Errorf("no_new_privs is not set (%v)", err)
	}
	if err := loadSeccomp(); err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	if err := probeSeccomp(); err != nil {
		return nil, err
	}
	return []audit.Layer{
		{Name: "gateway landlock", State: "enforced", Detail: fmt.Sprintf("ABI %d, every right to files and scope that it has, binding of ports", abi), Probe: "opened a file outside of the allowed paths: refused"},
		{Name: "gateway seccomp", State: "enforced", Detail: "allowlist, every thread", Probe: "asked for a socket of another family: refused"},
		{Name: "gateway privileges", State: "enforced", Detail: "no capability, no_new_privs, not dumpable, no core, no file growth", Probe: "read back"},
	}, nil
}

// probeLandlock opens what every user may read and the gateway may not. The root
// folder is there and readable on every host.
func probeLandlock() (int, error) {
	fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	if !errors.Is(err, unix.EACCES) {
		return 0, fmt.Errorf("landlock is not in force: opening / gave %v", err)
	}
	abi, err := ll.LandlockGetABIVersion()
	if err != nil {
		return 0, fmt.Errorf("landlock: %w", err)
	}
	return abi, nil
}

func probeSeccomp() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	if !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("seccomp is not in force: a local socket gave %v", err)
	}
	return nil
}

// isConfined says whether this is the program that the first step executed.
func isConfined() bool {
	return len(os.Args) > 1 && os.Args[len(os.Args)-1] == confinedArg
}
