package jail

import (
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func pair(t *testing.T) (a, b *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b = os.NewFile(uintptr(fds[0]), "a"), os.NewFile(uintptr(fds[1]), "b")
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestWire(t *testing.T) {
	a, b := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	want := message{Type: msgReady, PID: 10, Checks: 63, Files: []string{"listener"}, UserCPU: time.Second, MaxRSS: 1 << 30}
	if err := send(a, want, []*os.File{w}); err != nil {
		t.Fatal(err)
	}
	w.Close()
	got, files, err := receive(b)
	if err != nil || !reflect.DeepEqual(got, want) || len(files) != 1 {
		t.Fatalf("received %+v, %d files, %v", got, len(files), err)
	}
	// What came over is the pipe, and is not left open by an exec.
	if flags, err := unix.FcntlInt(files[0].Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %#x, %v", flags, err)
	}
	if _, err := files[0].WriteString("x"); err != nil {
		t.Error(err)
	}
	files[0].Close()
	if data, err := io.ReadAll(r); err != nil || string(data) != "x" {
		t.Errorf("the pipe gave %q, %v", data, err)
	}
	a.Close()
	if m, _, err := receive(b); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %+v, %v", m, err)
	}
}

func TestWireRefuses(t *testing.T) {
	a, b := pair(t)
	if err := send(a, message{Type: strings.Repeat("x", maxMessage)}, nil); err == nil {
		t.Error("a message beyond the limit was sent")
	}
	for _, raw := range []string{"not JSON", "{", `{"type":7}`, "[]"} {
		if _, err := a.WriteString(raw); err != nil {
			t.Fatal(err)
		}
		if m, _, err := receive(b); err == nil {
			t.Errorf("%q was taken as %+v", raw, m)
		}
	}
	// Longer than the buffer: the kernel cuts it, and a cut message is not believed.
	if err := unix.SetsockoptInt(int(a.Fd()), unix.SOL_SOCKET, unix.SO_SNDBUF, 4*maxMessage); err != nil {
		t.Fatal(err)
	}
	if _, err := a.WriteString(`{"type":"ready"}` + strings.Repeat(" ", maxMessage)); err != nil {
		t.Fatal(err)
	}
	if m, _, err := receive(b); err == nil {
		t.Errorf("a cut message was taken as %+v", m)
	}
}
