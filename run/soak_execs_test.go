package run_test

import (
	elf "encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tinyProgram is a program that does nothing but end: the kernel's part of an exec and
// ours are all that it costs. nil on an architecture that this test does not know.
func tinyProgram() []byte {
	const base = 0x400000
	var machine uint16
	var code []byte
	switch runtime.GOARCH {
	case "amd64":
		machine, code = 62, []byte{0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05} // xor edi,edi; mov eax,60 (exit); syscall
	case "arm64":
		machine, code = 183, []byte{0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4} // mov x0,0; mov x8,93 (exit); svc 0
	default:
		return nil
	}
	le, entry := elf.LittleEndian, uint64(64+56) // behind elf(5)'s two headers
	p := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	p = le.AppendUint16(le.AppendUint16(p, 2), machine) // ET_EXEC
	p = le.AppendUint32(p, 1)
	p = le.AppendUint64(le.AppendUint64(le.AppendUint64(p, base+entry), 64), 0)
	p = le.AppendUint32(p, 0)
	for _, n := range []uint16{64, 56, 1, 0, 0, 0} {
		p = le.AppendUint16(p, n)
	}
	p = le.AppendUint32(le.AppendUint32(p, 1), 5) // PT_LOAD, to read and execute
	size := entry + uint64(len(code))
	for _, n := range []uint64{0, base, base, size, size, 0x1000} {
		p = le.AppendUint64(p, n)
	}
	return append(p, code...)
}

// execFloodMain starts a program from 8 threads as fast as it can be done, and then asks
// for it as fast as it can be refused, without a child: its arguments are the program, how
// many starts and how many requests. It says how many were let through, how many were
// refused of either, and the milliseconds that both took.
func execFloodMain(args []string) int {
	starts, err1 := strconv.ParseInt(args[1], 10, 64)
	asks, err2 := strconv.ParseInt(args[2], 10, 64)
	path, err3 := unix.BytePtrFromString(args[0])
	if err1 != nil || err2 != nil || err3 != nil {
		return 97
	}
	argv := []*byte{path, nil}
	race := func(n int64, do func() error) (ok, refused, other int64, took time.Duration) {
		var left, yes, no, odd atomic.Int64
		left.Store(n)
		begun := time.Now()
		var threads sync.WaitGroup
		for range 8 {
			threads.Go(func() {
				for left.Add(-1) >= 0 {
					switch err := do(); err {
					case nil:
						yes.Add(1)
					case unix.EPERM:
						no.Add(1)
					default:
						odd.Add(1)
					}
				}
			})
		}
		threads.Wait()
		return yes.Load(), no.Load(), odd.Load(), time.Since(begun)
	}
	ok, refused, odd, took := race(starts, func() error {
		pid, err := syscall.ForkExec(args[0], args[:1], nil)
		if err != nil {
			return err
		}
		var status syscall.WaitStatus
		_, err = syscall.Wait4(pid, &status, 0, nil)
		return err
	})
	_, asked, odd2, took2 := race(asks, func() error {
		// One that is let through ends this program, and it says nothing.
		_, _, e := syscall.Syscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&argv[0])), 0)
		return e
	})
	fmt.Println(ok, refused, odd, took.Milliseconds(), asked, odd2, took2.Milliseconds())
	return 0
}

// TestSoakExecs: a limit of programs is exact, and every exec is counted and recorded,
// under as many of them a second as this machine can do.
func TestSoakExecs(t *testing.T) {
	program := tinyProgram()
	if program == nil {
		t.Skip("the host lacks a processor that the tiny program is written for: it is " + runtime.GOARCH)
	}
	limit, asks := soakCount(1000, 20_000), soakCount(8000, 500_000)
	starts := limit + limit/10
	c := newCaller(t, "")
	dir := filepath.Join(c.dir, "bin")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tiny := filepath.Join(dir, "tiny")
	if err := os.WriteFile(tiny, program, 0o755); err != nil {
		t.Fatal(err)
	}
	c.setProfile(fmt.Sprintf("files { exec = [%q, %q] }\nprocess {\n limit %q { rate = \"%d/run\" }\n}\naudit { size = \"1GiB\" }\n", self(t), dir, tiny, limit))
	o := c.must(self(t), helperArg, "execflood", tiny, strconv.Itoa(starts), strconv.Itoa(asks))
	var ok, refused, odd, ms, asked, odd2, ms2 int
	if _, err := fmt.Sscan(o.stdout, &ok, &refused, &odd, &ms, &asked, &odd2, &ms2); err != nil {
		t.Fatalf("%v: %q", err, o.stdout)
	}
	t.Logf("%d starts in %d ms (%d/s), %d refused without a child in %d ms (%d/s)", starts, ms, starts*1000/max(ms, 1), asked, ms2, asked*1000/max(ms2, 1))
	if ok != limit || refused != starts-limit || asked != asks || odd+odd2 != 0 {
		t.Errorf("%d of %d starts were let through with a limit of %d, %d refused; of %d more %d were refused; %d failed otherwise", ok, starts, limit, refused, asks, asked, odd+odd2)
	}
	if o.status.Refused != int64(refused+asked) {
		t.Errorf("the run counts %d refused, want %d", o.status.Refused, refused+asked)
	}
	var yes, no, ended int64
	for _, e := range o.events() {
		switch v := e.View(); {
		case v.Kind == "exec" && strings.HasPrefix(v.Target, tiny) && v.Verdict == "allowed":
			yes += v.Count
		case v.Kind == "exec" && strings.HasPrefix(v.Target, tiny):
			no += v.Count
		case v.Kind == "exit" && strings.HasPrefix(v.Target, "tiny["):
			ended += v.Count
		}
	}
	if yes != int64(limit) || no != int64(refused+asked) || ended != int64(limit) {
		t.Errorf("the trail has %d starts, %d refused and %d ends, want %d, %d and %d", yes, no, ended, limit, refused+asked, limit)
	}
}
