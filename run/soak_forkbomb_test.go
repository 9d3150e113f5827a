package run_test

import (
	"errors"
	"net"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSoakForkBomb: the agent has used up the limit of processes, which the jail's PID 1 is
// under too where a cgroup holds it, and the host keeps PID 1 busy: each connection to a
// published port is one that PID 1 makes, and each makes garbage. The run goes on.
func TestSoakForkBomb(t *testing.T) {
	for range soakCount(2, 30) {
		addr := net.JoinHostPort("127.0.0.1", freePort(t))
		_, port, _ := net.SplitHostPort(addr)
		c := newCaller(t, "network {\n publish \""+port+":3000\" {}\n}\n"+limits("processes = 40\n enforce = \"best-effort\""))
		// A shell that may not fork ends, and its own place is what the next one takes.
		l := c.start(t, "sh", "-c", "fill() { (while :; do sleep 1000 & done) 2>/dev/null; }; fill; echo full; while :; do fill; done")
		l.expect("full")
		var callers sync.WaitGroup
		for range 8 {
			callers.Go(func() {
				for range 100 {
					conn, err := net.Dial("tcp", addr)
					if errors.Is(err, unix.ECONNRESET) {
						continue // closed as quickly as that
					}
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = conn.Read(make([]byte, 1)) // nobody listens inside: it is closed
					conn.Close()
				}
			})
		}
		callers.Wait()
		if err := l.cmd.Process.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := l.end(); code != 143 {
			t.Errorf("exit code %d, want that of SIGTERM: %s", code, l.stderr.String())
		}
		c.wantNothingLeft()
	}
}

// freePort is a port of 127.0.0.1 that nobody has.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}
