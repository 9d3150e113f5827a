package run_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agentjail/agentjail/run/approval"
)

// sockets are the control sockets of the caller's runs.
func sockets(t *testing.T, c *caller) (paths []string) {
	t.Helper()
	infos, err := filepath.Glob(filepath.Join(c.home, ".local/state/agentjail/runs/*/run.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range infos {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var i struct{ Runtime string }
		if err := json.Unmarshal(data, &i); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(filepath.Join(i.Runtime, "control.sock")); err == nil {
			paths = append(paths, filepath.Join(i.Runtime, "control.sock"))
		}
	}
	if len(paths) == 0 {
		t.Fatal("no run has a control socket")
	}
	return paths
}

// dialLong connects to a socket whose path may be longer than an address.
func dialLong(t *testing.T, path string) net.Conn {
	t.Helper()
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	conn, err := net.Dial("unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// controlMain tries to reach the control socket from within the jail, by every name that
// it could have: it prints those that answer, and all sockets of the file view.
func controlMain(args []string) int {
	for _, path := range args {
		names := []string{path, "@" + path, "@" + filepath.Base(path), "/proc/self/root" + path, "/proc/1/root" + path}
		for pid := range 64 {
			names = append(names, fmt.Sprintf("/proc/%d/cwd/%s", pid, filepath.Base(path)), fmt.Sprintf("/proc/%d/root%s", pid, path))
			for fd := range 32 {
				names = append(names, fmt.Sprintf("/proc/%d/fd/%d/%s", pid, fd, filepath.Base(path)))
			}
		}
		for _, name := range names {
			if conn, err := net.Dial("unix", name); err == nil {
				fmt.Println("reached", name)
				conn.Close()
			}
		}
	}
	_ = filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type()&fs.ModeSocket != 0 {
			fmt.Println("socket", path)
		}
		if err == nil && path == "/proc" {
			return filepath.SkipDir
		}
		return nil
	})
	fmt.Println("tried")
	return 0
}

// The socket is nowhere in the jail.
func TestJailControlSocket(t *testing.T) {
	id := needTool(t, "id")
	c := newCaller(t, fmt.Sprintf("files { exec = [%q, %q] }\nprocess {\n  ask \"id\" {}\n}", id, self(t)))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c.stdin = r
	o := c.runAnswered(func(q approval.Question) []string {
		// Only the outside knows the path: the agent is told it, which is more than it has.
		fmt.Fprintln(w, strings.Join(sockets(t, c), " "))
		w.Close()
		return []string{"--no", q.ID}
	}, "bash", "-c", `id; read paths; exec `+self(t)+` `+helperArg+` control $paths`)
	o.wantCode(0)
	if o.stdout != "tried\n" {
		t.Errorf("%s\n%s", o.stdout, o.stderr)
	}
}

// Approvers that are killed in the middle of a word, that flood and that say nonsense
// harm neither the run nor the next one who answers.
func TestJailApproverKilled(t *testing.T) {
	id := needTool(t, "id")
	c := newCaller(t, fmt.Sprintf("files { exec = [%q] }\nprocess {\n  ask \"id\" {}\n}", id))
	o := c.runAnswered(func(q approval.Question) []string {
		for _, path := range sockets(t, c) {
			for i := range 50 {
				conn := dialLong(t, path)
				switch i % 3 {
				case 0:
					fmt.Fprintf(conn, `{"version":1,"method":"answer","params":{"id":%q,"yes":true`, q.ID)
				case 1:
					fmt.Fprintf(conn, "%s\n", strings.Repeat("\x00\xff", 100))
				}
				if i%2 == 0 {
					conn.Close()
				}
			}
		}
		for i := range 10 {
			ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
			cmd := c.agentjail(ctx, "approve", "--no", "no-such-question")
			if err := cmd.Start(); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Duration(i) * time.Millisecond)
			_ = cmd.Process.Signal(syscall.SIGKILL)
			_ = cmd.Wait()
			cancel()
		}
		return []string{"--yes", q.ID}
	}, "bash", "-c", "id -u >/dev/null; echo $?")
	o.wantCode(0)
	if o.stdout != "0\n" {
		t.Errorf("%q\n%s", o.stdout, o.stderr)
	}
}
