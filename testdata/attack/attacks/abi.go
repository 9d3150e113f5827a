package attacks

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// x32 is __X32_SYSCALL_BIT of asm/unistd.h.
const x32 = 0x40000000

// foreign are calls of the i386 ABI, by number (arch/x86/entry/syscalls/syscall_32.tbl),
// that a filter for the native one would let through by another meaning of the number.
var foreign = []struct {
	id   string
	what string
	nr   int
	arg  int
}{
	{"int80", "getpid", 20, 0},
	{"int80-unshare", "unshare a user namespace", 310, unix.CLONE_NEWUSER},
	{"int80-socketcall", "socketcall", 102, 1}, // SYS_SOCKET, with no arguments to read: EFAULT where it is let through
	{"int80-keyctl", "keyctl", 288, 0},
	{"int80-ptrace", "ptrace", 26, 0},
}

// abis are calls through another ABI than the native one: each is the end of its process.
func abis() []Attack {
	var list []Attack
	add := func(id, what, class string) {
		list = append(list, Attack{ID: id, Line: 31, What: what, Class: class, Without: Plain, Stopped: []Stop{by(Seccomp, "SIGSYS")},
			Try: func(*Target) string { return child(ArgOne, id) },
			Needs: func(*Target) string {
				if runtime.GOARCH != "amd64" {
					return "an x86 machine"
				}
				return ""
			}})
	}
	for _, f := range foreign {
		add(f.id, f.what+" by int 0x80", "a filter for one ABI only")
	}
	add("x32", "getpid with the x32 bit", "a filter for one ABI only")
	add("x32-unshare", "unshare a user namespace with the x32 bit", "a filter for one ABI only")
	return list
}

// One makes one call that is expected to end its process.
func One(args []string) int {
	if len(args) != 1 {
		return 1
	}
	for _, f := range foreign {
		if f.id == args[0] {
			fmt.Println(int80(f.nr, f.arg))
			return 0
		}
	}
	switch args[0] {
	case "x32":
		_, _, errno := unix.RawSyscall(x32|unix.SYS_GETPID, 0, 0, 0)
		fmt.Println(name(errno))
	case "x32-unshare":
		_, _, errno := unix.RawSyscall(x32|unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0)
		fmt.Println(name(errno))
	default:
		return 1
	}
	return 0
}

// int80 makes a system call of the i386 ABI from 64-bit code, with one argument.
func int80(nr, arg int) string {
	if runtime.GOARCH != "amd64" {
		return "not an amd64 machine"
	}
	code := []byte{
		0x53,                                                          // push %rbx, which Go's convention leaves to us but others do not
		0xb8, byte(nr), byte(nr >> 8), byte(nr >> 16), byte(nr >> 24), // mov $nr, %eax
		0xbb, byte(arg), byte(arg >> 8), byte(arg >> 16), byte(arg >> 24), // mov $arg, %ebx
		0x31, 0xc9, // xor %ecx, %ecx
		0x31, 0xd2, // xor %edx, %edx
		0xcd, 0x80, // int $0x80
		0x5b, // pop %rbx
		0xc3, // ret
	}
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return "mmap: " + answer(err)
	}
	copy(page, code)
	// A func value points to a word that points to the code; the result is in AX both for
	// the kernel and for Go's own convention.
	entry := &page[0]
	value := &entry
	f := *(*func() int32)(unsafe.Pointer(&value))
	r := f()
	if nr == 20 && int(r) != os.Getpid() {
		return "pid " + strconv.Itoa(int(r))
	}
	if r < 0 && r > -4096 {
		return name(unix.Errno(-r))
	}
	return "ok"
}
