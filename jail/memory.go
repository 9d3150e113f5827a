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
	for i := 0; i+word <= n; i += word {
		p := binary.NativeEndian.Uint64(buf[i:])
		if p == 0 {
			return argv, cut, total
		}
		if total >= maxArgBytes {
			cut++
			continue
		}
		s := readString(pid, p, maxArgBytes-total)
		total += len(s)
		argv = append(argv, s)
	}
	if n >= len(buf) {
		cut++ // at least one more; how many is not worth reading
	}
	return argv, cut, total
}

func hasNull(vector []byte) bool {
	for i := 0; i+8 <= len(vector); i += 8 {
		if binary.NativeEndian.Uint64(vector[i:]) == 0 {
			return true
		}
	}
	return false
}
