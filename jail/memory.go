package jail

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// readMemory copies from another process up to the first unreadable page.
func readMemory(pid int, addr uint64, p []byte) int {
	if addr == 0 || len(p) == 0 {
		return 0
	}
	local := []unix.Iovec{{Base: &p[0]}}
	local[0].SetLen(len(p))
	remote := []unix.RemoteIovec{{Base: uintptr(addr), Len: len(p)}}
	n, err := unix.ProcessVMReadv(pid, local, remote, 0)
	if err != nil {
		return 0
	}
	return n
}

const pageSize = 4096

// readString reads a NUL-terminated string, page by page: the next page may not
// be there.
func readString(pid int, addr uint64, limit int) string {
	var out []byte
	for len(out) < limit && addr != 0 {
		chunk := make([]byte, min(pageSize-int(addr%pageSize), limit-len(out), 256))
		n := readMemory(pid, addr, chunk)
		if n == 0 {
			break
		}
		if i := bytes.IndexByte(chunk[:n], 0); i >= 0 {
			return string(append(out, chunk[:i]...))
		}
		out = append(out, chunk[:n]...)
		addr += uint64(n)
	}
	return string(out)
}

// readArgv reads an argument vector within bounds; cut is how many arguments were
// left out, total how many bytes the kept ones have.
func readArgv(pid int, addr uint64) (argv []string, cut, total int) {
	const word = 8
	buf := make([]byte, maxArgs*word)
	// The vector ends somewhere before the end of buf, maybe before an unmapped
	// page: read up to the page's end, then on.
	n := 0
	for n < len(buf) {
		step := min(pageSize-int((addr+uint64(n))%pageSize), len(buf)-n)
		got := readMemory(pid, addr+uint64(n), buf[n:n+step])
		if got == 0 {
			break
		}
		n += got
		if hasNull(buf[:n]) {
			break
		}
	}
	var vector []uint64
	for i := 0; i+word <= n; i += word {
		p := binary.NativeEndian.Uint64(buf[i:])
		if p == 0 {
			break
		}
		vector = append(vector, p)
	}
	for at := 0; at < len(vector) && total < maxArgBytes; at += batched {
		group := vector[at:min(at+batched, len(vector))]
		for i, begun := range readBeginnings(pid, group) {
			if total >= maxArgBytes {
				break
			}
			s := readOn(pid, group[i], begun, maxArgBytes-total)
			total += len(s)
			argv = append(argv, s)
		}
	}
	cut = len(vector) - len(argv)
	if len(vector)*word == len(buf) {
		cut++ // at least one more; how many is not worth reading
	}
	return argv, cut, total
}

const (
	// batched is how many strings are read with one system call: most programs have
	// fewer arguments.
	batched = 32
	// beginning is what is read of each in it. It ends with the page, since the next
	// one may not be there.
	beginning = 128
)

// readBeginnings reads the beginnings of strings; what could not be read is empty. The
// kernel copies in the order of the addresses and stops at the first that is not to be
// read (process_vm_readv(2)).
func readBeginnings(pid int, addrs []uint64) [][]byte {
	begun := make([][]byte, len(addrs))
	remote := make([]unix.RemoteIovec, len(addrs))
	size := 0
	for i, addr := range addrs {
		n := min(pageSize-int(addr%pageSize), beginning)
		remote[i] = unix.RemoteIovec{Base: uintptr(addr), Len: n}
		size += n
	}
	buf := make([]byte, size)
	local := []unix.Iovec{{Base: &buf[0]}}
	local[0].SetLen(size)
	got, err := unix.ProcessVMReadv(pid, local, remote, 0)
	if err != nil {
		return begun
	}
	for i := range remote {
		n := min(remote[i].Len, got)
		begun[i] = buf[:n]
		buf, got = buf[n:], got-n
	}
	return begun
}

// readOn is the string of which a beginning was read.
func readOn(pid int, addr uint64, begun []byte, limit int) string {
	begun = begun[:min(len(begun), limit)]
	if i := bytes.IndexByte(begun, 0); i >= 0 {
		return string(begun[:i])
	}
	return string(begun) + readString(pid, addr+uint64(len(begun)), limit-len(begun))
}

func hasNull(vector []byte) bool {
	for i := 0; i+8 <= len(vector); i += 8 {
		if binary.NativeEndian.Uint64(vector[i:]) == 0 {
			return true
		}
	}
	return false
}
