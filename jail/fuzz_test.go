package jail

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hostileMemory is memory as an agent may lay it out for execve: pages with a page
// behind them that is not there, so that what runs on ends in the middle.
func hostileMemory(tb testing.TB) (mem []byte, base uint64) {
	tb.Helper()
	mem, err := unix.Mmap(-1, 0, 3*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		tb.Fatal(err)
	}
	if err := unix.Mprotect(mem[2*pageSize:], unix.PROT_NONE); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = unix.Munmap(mem) })
	return mem[:2*pageSize], uint64(uintptr(unsafe.Pointer(&mem[0])))
}

// FuzzReadArgv reads an exec's arguments from memory that an agent laid out: layout has
// a byte for each pointer of the vector, text lies at the end of the last page.
func FuzzReadArgv(f *testing.F) {
	f.Add([]byte{1, 2, 0}, []byte("a\x00b\x00"), uint16(0))
	f.Add([]byte{255, 254, 253, 1}, []byte("no end"), uint16(pageSize-16))
	f.Add(bytes.Repeat([]byte{1}, 300), bytes.Repeat([]byte("x"), 200), uint16(3))
	mem, base := hostileMemory(f)
	f.Fuzz(func(t *testing.T, layout, text []byte, at uint16) {
		clear(mem)
		text = text[:min(len(text), pageSize)]
		start := len(mem) - len(text)
		copy(mem[start:], text)
		vector := int(at) % pageSize
		for i, b := range layout {
			var p uint64
			switch {
			case b == 0: // the end
			case b >= 250: // nowhere
				p = ^uint64(0) << (8 * (255 - b))
			default:
				p = base + uint64(start) + uint64(b)*uint64(len(text))/250
			}
			if vector+8*i+8 > start {
				break // the vector itself runs into the text, or into nothing
			}
			binary.NativeEndian.PutUint64(mem[vector+8*i:], p)
		}
		argv, cut, total := readArgv(os.Getpid(), base+uint64(vector))
		sum := 0
		for _, a := range argv {
			sum += len(a)
			if strings.IndexByte(a, 0) >= 0 {
				t.Errorf("an argument has a NUL in it: %q", a)
			}
		}
		if sum != total || total > maxArgBytes || len(argv)+cut > maxArgs+1 {
			t.Errorf("%d arguments of %d bytes (%d), %d cut", len(argv), sum, total, cut)
		}
	})
}

// escaped is a program's name as the kernel writes it into /proc/PID/status
// (string_escape_str with "\n\\", fs/proc/array.c).
func escaped(comm string) string {
	comm = strings.ReplaceAll(strings.ReplaceAll(comm, `\`, `\\`), "\n", `\n`)
	name, _, _ := strings.Cut(comm, "\x00")
	return name
}

// FuzzStatus reads ids from /proc/PID/status, whose first line the agent can choose.
func FuzzStatus(f *testing.F) {
	f.Add("sh", "\nNStgid:")
	f.Add("\nNStgid:\t1\n", "\nTgid:")
	f.Add("NSpid:", "\nNSpid:")
	f.Fuzz(func(t *testing.T, comm, key string) {
		_ = lastField([]byte(comm), key)
		status := "Name:\t" + escaped(comm) + "\nUmask:\t0022\nState:\tR (running)\nTgid:\t70\nPid:\t71\nPPid:\t72\nNStgid:\t70\t3\nNSpid:\t71\t4\n"
		for key, want := range map[string]int{"\nTgid:": 70, "\nPPid:": 72, "\nNStgid:": 3} {
			if got := lastField([]byte(status), key); got != want {
				t.Errorf("a process called %q has %q %d, want %d", comm, key, got, want)
			}
		}
	})
}

// FuzzStat reads how a process ended from /proc/PID/stat, whose second field the agent
// can choose.
func FuzzStat(f *testing.F) {
	f.Add("sh", []byte("1 (sh) Z 1"))
	f.Add(") Z 1 1 1 1", []byte("1 (x) Z"+strings.Repeat(" 9", 49)))
	f.Fuzz(func(t *testing.T, comm string, raw []byte) {
		if z, ok := parseZombie(raw); ok && !bytes.Contains(raw, []byte("Z")) {
			t.Errorf("%q is taken for a zombie: %+v", raw, z)
		}
		comm = comm[:min(len(comm), 15)] // TASK_COMM_LEN less its NUL
		for state, want := range map[string]bool{"Z": true, "R": false} {
			line := fmt.Sprintf("7 (%s) %s 1%s 256\n", comm, state, strings.Repeat(" 0", 47))
			z, ok := parseZombie([]byte(line))
			if ok != want || ok && z.status != 256 {
				t.Errorf("a process called %q in state %s: zombie %v, %+v", comm, state, ok, z)
			}
		}
	})
}

// FuzzReceive takes packets from the other side of the control socket.
func FuzzReceive(f *testing.F) {
	f.Add([]byte(`{"type":"ready","pid":10,"checks":63,"files":["listener"]}`))
	f.Add([]byte(`{"type":"failed","layer":"command","not_found":true}`))
	f.Add([]byte(`{"type":"ended","status":4294967295,"user_cpu":-1}`))
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		f.Fatal(err)
	}
	a, b := os.NewFile(uintptr(fds[0]), "a"), os.NewFile(uintptr(fds[1]), "b")
	f.Cleanup(func() { a.Close(); b.Close() })
	plan := &Plan{Agent: AgentPlan{Argv: []string{"sh"}}}
	f.Fuzz(func(t *testing.T, packet []byte) {
		if len(packet) == 0 || len(packet) > maxMessage {
			return // an empty one is the end
		}
		if _, err := a.Write(packet); err != nil {
			t.Fatal(err)
		}
		m, files, err := receive(b)
		if len(files) != 0 {
			t.Errorf("%d descriptors came from nowhere", len(files))
		}
		if err != nil {
			return
		}
		if m.err(plan) == nil {
			t.Error("a failure is no error")
		}
		code, signal := exitStatus(unix.WaitStatus(m.Status))
		if signal == "" && (code < -1 || code > 255) {
			t.Errorf("status %#x is exit code %d", m.Status, code)
		}
	})
}
