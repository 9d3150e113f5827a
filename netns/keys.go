package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/agentjail/agentjail/audit"
	"golang.org/x/sys/unix"
)

// maxKeys bounds what is handed to the gateway in secret.
const maxKeys = 1 << 20

// Keys are secret bytes on their way from the supervisor to the gateway: outside of
// Go's heap, where the collector would leave copies behind, out of core files, and
// where the limit of locked memory allows it out of swap.
//
// The first value is the run's CA key, the others are the secrets in the order of
// Intercept.Secrets. In memory and on the control socket:
//
//	+-----------------+-------+-----------------+-------+--
//	| length, 4 bytes | value | length, 4 bytes | value | ...
//	+-----------------+-------+-----------------+-------+--
type Keys struct {
	mu     sync.Mutex // of closing
	mem    []byte
	used   int
	locked bool
	all    bool // the rest of the process's memory is locked too
}

// NewKeys takes values over and overwrites the caller's.
func NewKeys(values ...[]byte) (*Keys, error) {
	size := 0
	for _, v := range values {
		size += 4 + len(v)
	}
	k, err := allocate(size)
	if err != nil {
		return nil, err
	}
	at := 0
	for _, v := range values {
		binary.BigEndian.PutUint32(k.mem[at:], uint32(len(v)))
		copy(k.mem[at+4:], v)
		at += 4 + len(v)
		clear(v)
	}
	return k, nil
}

func allocate(size int) (*Keys, error) {
	if size == 0 || size > maxKeys {
		return nil, fmt.Errorf("%d bytes of keys and secrets", size)
	}
	page := unix.Getpagesize()
	mem, err := unix.Mmap(-1, 0, (size+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("memory for keys and secrets: %w", err)
	}
	k := &Keys{mem: mem, used: size}
	if err := unix.Madvise(mem, unix.MADV_DONTDUMP); err != nil {
		k.Close()
		return nil, fmt.Errorf("keep keys and secrets out of core files: %w", err)
	}
	k.locked = unix.Mlock(mem) == nil // ENOMEM: RLIMIT_MEMLOCK, mlock(2)
	return k, nil
}

// values are slices of the secret memory itself, valid until Close.
func (k *Keys) values() ([][]byte, error) {
	var out [][]byte
	for b := k.mem[:k.used]; len(b) > 0; {
		if len(b) < 4 || uint64(binary.BigEndian.Uint32(b)) > uint64(len(b)-4) {
			return nil, errors.New("keys and secrets are malformed")
		}
		n := int(binary.BigEndian.Uint32(b))
		out = append(out, b[4:4+n:4+n])
		b = b[4+n:]
	}
	return out, nil
}

// layer says how well the gateway's memory keeps them.
func (k *Keys) layer() audit.Layer {
	l := audit.Layer{Name: "gateway secrets", State: "enforced", Detail: "in memory of their own, not in core files; all of the process's memory is locked",
		Probe: "mlockall, mlock and madvise answered"}
	const hint = "the limit of locked memory (RLIMIT_MEMLOCK, ulimit -l) is not unlimited"
	switch {
	case !k.locked:
		l.State, l.Detail = "degraded", "in memory of their own, not in core files; they may be swapped out: "+hint
	case !k.all:
		l.State, l.Detail = "degraded", "in memory of their own, locked, not in core files; the copies that requests make of them are on the process's heap, and may be swapped out while a request lasts and until its memory is used again: "+hint
	}
	return l
}

// send writes the keys to the gateway.
func (k *Keys) send(w io.Writer) error {
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], uint32(k.used))
	if _, err := w.Write(head[:]); err != nil {
		return err
	}
	_, err := w.Write(k.mem[:k.used])
	return err
}

// receiveKeys reads what send wrote straight into memory of its own.
func receiveKeys(r io.Reader) (*Keys, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxKeys {
		return nil, fmt.Errorf("%d bytes of keys and secrets", size)
	}
	k, err := allocate(int(size))
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(r, k.mem[:k.used]); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

// Close overwrites the values and gives the memory back. It may be called on nil and
// more than once.
func (k *Keys) Close() {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mem == nil {
		return
	}
	clear(k.mem)
	// An error leaves overwritten memory behind, nothing else.
	_ = unix.Munmap(k.mem)
	k.mem, k.used = nil, 0
}
