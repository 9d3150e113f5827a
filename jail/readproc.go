package jail

import (
	"errors"

	"golang.org/x/sys/unix"
)

// procSize is what a read asks for at first: most of a process's files are shorter.
const procSize = 2 << 10

// readProc reads a file of /proc whole. An exec waits while its caller's files are read,
// and os.ReadFile makes a descriptor of the runtime's poller of each, which /proc's have
// no use for: it takes three times as long.
func readProc(path string) ([]byte, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY, 0) })
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	data := make([]byte, 0, procSize)
	for {
		n, err := retry(func() (int, error) { return unix.Read(fd, data[len(data):cap(data)]) })
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return data, nil
		}
		if data = data[:len(data)+n]; len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
	}
}

// retry is a system call until a signal did not interrupt it; the Go runtime's own do.
func retry(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
