package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

type refusals struct {
	mu   sync.Mutex
	list []error
}

func (r *refusals) add(_ Peer, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, why)
}

func (r *refusals) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprint(r.list)
}

// serve starts a server with the methods echo (its parameters) and boom (a panic).
func serve(t *testing.T, r *refusals) string {
	t.Helper()
	// Longer than a socket's name may be.
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := Listen(Config{Dir: dir, Owner: uint32(os.Geteuid()), Refused: r.add})
	if err != nil {
		t.Fatal(err)
	}
	s.Handle("echo", func(_ context.Context, who Peer, params json.RawMessage) (any, error) {
		var p struct{ Text string }
		if err := Params(params, &p); err != nil {
			return nil, err
		}
		return map[string]any{"text": p.Text, "uid": who.UID}, nil
	})
	s.Handle("boom", func(context.Context, Peer, json.RawMessage) (any, error) { panic("boom") })
	s.Serve()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(filepath.Join(dir, SocketName)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return dir
}

func call(t *testing.T, dir, method string, params, result any) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return Call(ctx, dir, uint32(os.Geteuid()), method, params, result)
}

func echo(t *testing.T, dir string) {
	t.Helper()
	var got struct {
		Text string
		UID  int
	}
	if err := call(t, dir, "echo", map[string]string{"text": "x\n\u202ey"}, &got); err != nil || got.Text != "x\n\u202ey" || got.UID != os.Geteuid() {
		t.Errorf("echo: %+v, %v", got, err)
	}
}

func raw(t *testing.T, dir string) *net.UnixConn {
	t.Helper()
	var c net.Conn
	if err := within(dir, func(path string) (err error) {
		c, err = net.Dial("unix", path)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.UnixConn)
}

func TestCall(t *testing.T) {
	dir := serve(t, &refusals{})
	st, err := os.Lstat(filepath.Join(dir, SocketName))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	echo(t, dir)
	for method, c := range map[string]struct {
		params any
		want   string
	}{
		"nothing": {nil, `no method "nothing"`},
		"boom":    {nil, "the method failed: boom"},
		"echo":    {map[string]string{"txet": "x"}, `unknown field "txet"`},
	} {
		var e *Error
		if err := call(t, dir, method, c.params, nil); !errors.As(err, &e) || !strings.Contains(e.Text, c.want) {
			t.Errorf("%s: %v", method, err)
		}
	}
	echo(t, dir)
}

// A client that says something wrong is told so, and hung up on.
func TestWrongRequests(t *testing.T) {
	dir := serve(t, &refusals{})
	for line, want := range map[string]string{
		"hello\n":                              "can't be read",
		`{"version":2,"method":"echo"}` + "\n": "of version 2",
		`{"version":1,"method":"echo","sudo":true}` + "\n":  "unknown field",
		`{"version":1,"method":"echo"} {}` + "\n":           "something follows",
		strings.Repeat(" ", maxRequest) + "{}\n":            "at most",
		`{"version":1,"method":"` + strings.Repeat("x", 70): "", // no line's end: nothing is answered
	} {
		c := raw(t, dir)
		if _, err := io.WriteString(c, line); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
		if want == "" {
			c.CloseWrite()
		}
		got, err := io.ReadAll(c)
		if err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Error(err)
		}
		if !strings.Contains(string(got), want) || want == "" && len(got) > 0 {
			t.Errorf("%.40q: %q, want %q", line, got, want)
		}
	}
	echo(t, dir)
}

// Clients that connect and say nothing, or half a word, keep nobody out.
func TestFlood(t *testing.T) {
	dir := serve(t, &refusals{})
	for i := range 3 * maxClients {
		c := raw(t, dir)
		if i%2 == 0 {
			io.WriteString(c, `{"version":1,"met`)
		}
	}
	for range 3 {
		echo(t, dir)
	}
}

// A client that asks much and reads nothing has its own answers stuck, and no others.
func TestStall(t *testing.T) {
	dir := serve(t, &refusals{})
	c := raw(t, dir)
	text := strings.Repeat("x", maxRequest/2)
	go func() {
		for {
			if _, err := io.WriteString(c, `{"version":1,"method":"echo","params":{"text":"`+text+"\"}}\n"); err != nil {
				return
			}
		}
	}()
	for range 3 {
		echo(t, dir)
	}
}

// A process of the run's own user in another pid namespace, as those of its jail are,
// is refused, though it has the path.
func TestOtherNamespace(t *testing.T) {
	if dir := os.Getenv("CONTROL_TEST_DIR"); dir != "" { // the other process
		echo(t, dir)
		return
	}
	var r refusals
	dir := serve(t, &r)
	for _, c := range []struct {
		flags  uintptr
		served bool
	}{{0, true}, {syscall.CLONE_NEWPID, false}} {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestOtherNamespace$", "-test.count=1")
		cmd.Env = append(os.Environ(), "CONTROL_TEST_DIR="+dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: c.flags}
		if c.flags != 0 && os.Geteuid() != 0 {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		}
		out, err := cmd.CombinedOutput()
		if err != nil && strings.Contains(err.Error(), "operation not permitted") {
			t.Skip("the host lacks user namespaces for this user: ", err)
		}
		if served := err == nil; served != c.served {
			t.Errorf("flags %x: %v\n%s", c.flags, err, out)
		}
	}
	// It is noted once the other one was refused, who may have ended by then.
	for deadline := time.Now().Add(time.Minute); !strings.Contains(r.text(), "another pid namespace"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it was refused because of %s", r.text())
		}
	}
}

// Of other users root is served, and nobody else.
func TestPeerUsers(t *testing.T) {
	me := os.Getpid()
	for _, c := range []struct {
		p     Peer
		owner uint32
		ok    bool
	}{
		{Peer{1000, me}, 1000, true},
		{Peer{0, me}, 1000, true},
		{Peer{0, me}, 0, true},
		{Peer{1001, me}, 1000, false},
		{Peer{1000, me}, 0, false},
		{Peer{1000, 0}, 1000, false}, // a process that this pid namespace has no number for
	} {
		if err := c.p.check(c.owner); (err == nil) != c.ok {
			t.Errorf("%+v of a run of %d: %v", c.p, c.owner, err)
		}
	}
}

// A folder that others can write is none to put the socket into.
func TestOpenFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if s, err := Listen(Config{Dir: dir, Owner: uint32(os.Geteuid())}); err == nil {
		s.Close()
		t.Error("it was taken")
	}
}

func TestNoRun(t *testing.T) {
	dir := t.TempDir()
	if err := call(t, dir, "echo", nil, nil); !errors.Is(err, ErrNoRun) {
		t.Error(err)
	}
	// One that was left by a run that was killed.
	if err := within(dir, func(path string) error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}); err != nil {
		t.Fatal(err)
	}
	if err := call(t, dir, "echo", nil, nil); !errors.Is(err, ErrNoRun) {
		t.Error(err)
	}
}

func FuzzParseRequest(f *testing.F) {
	for _, s := range []string{`{"version":1,"method":"answer","params":{"id":"1","verdict":"yes"}}`, `{"version":1}`, `[]`, `{"version":1,"method":"x"}{}`, "{\"version\":1,\"method\":\"\\u0000\"}", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		q, err := parseRequest(line)
		if err != nil {
			if q.Method != "" || q.Params != nil {
				t.Errorf("a refused request has a content: %+v", q)
			}
			return
		}
		if q.Version != Version {
			t.Errorf("version %d", q.Version)
		}
		// What was understood is understood the same when it is written again.
		again, err := frame(q, 2*maxRequest+len(line))
		if err != nil {
			t.Fatal(err)
		}
		got, err := readLine(bufio.NewReader(strings.NewReader(string(again))), len(again))
		if err != nil {
			t.Fatalf("%q: %v", again, err)
		}
		r, err := parseRequest(got)
		if err != nil || r.Method != q.Method {
			t.Errorf("%q became %q: %v", q.Method, r.Method, err)
		}
	})
}

// TestClientsAreBounded: however many connect, only so many are held, and those that have
// waited longest go.
func TestClientsAreBounded(t *testing.T) {
	dir := serve(t, &refusals{})
	const more = 8
	var all []*net.UnixConn
	for range maxClients + more {
		all = append(all, raw(t, dir))
	}
	for i, c := range all[:more] {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("client %d of %d is still held: %v", i, len(all), err)
		}
	}
	echo(t, dir)
}
