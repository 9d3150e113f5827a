package run_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// socketsMain waits for a line, then connects to each path as a stream and sends to
// it as a datagram, and prints what it was answered. "own:PATH" is bound by itself
// before.
func socketsMain(args []string) int {
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	results := map[string]string{}
	for _, arg := range args {
		path, own := strings.CutPrefix(arg, "own:")
		if own {
			l, err := net.Listen("unix", path)
			if err != nil {
				results[arg] = answerErr(err)
				continue
			}
			defer l.Close()
		}
		results[arg] = unixAttack(path) + " " + datagramAttack(path)
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		return 1
	}
	return 0
}

func datagramAttack(path string) string {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return answerErr(err)
	}
	defer unix.Close(fd)
	return answerErr(unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrUnix{Name: path}))
}

// TestJailSocketsInGrants: what listens on a Unix socket in a folder that the agent
// was given is not given with it.
//
// With MountView mounted as a bind, "read" and "readonly" answer ok for both sockets;
// with view.sockets adding no masks, "write" and "direct" do for the early one.
// (Names of the cases are short: a path of a socket has 108 bytes, unix(7).)
func TestJailSocketsInGrants(t *testing.T) {
	const refused, ok = "ECONNREFUSED ECONNREFUSED", "ok EPROTOTYPE" // a stream socket takes no datagram
	// What a host's program makes while the agent runs can be refused by Landlock alone
	// where the folder must be the host's own.
	late, state := ok, "degraded"
	if landlockABI(t) >= 9 {
		late, state = "EACCES EACCES", "enforced"
	}
	tests := []struct {
		name        string
		files       string // of the profile; DIR is the folder with the sockets
		workspace   string // a mode; DIR is the workspace then
		early, late string
		own         string // what the agent's own server in DIR is answered
		state       string
	}{
		{name: "read", files: `read = ["DIR"]`, early: refused, late: refused, own: "EROFS", state: "enforced"},
		{name: "exec", files: `exec = ["SELF", "DIR"]`, early: refused, late: refused, own: "EROFS", state: "enforced"},
		{name: "write", files: `write = ["DIR"]`, early: refused, late: late, own: ok, state: state},
		{name: "name", files: `write = ["DIR", "DIR/early"]`, early: ok, late: late, own: ok, state: state},
		{name: "readonly", workspace: "readonly", early: refused, late: refused, own: "EROFS", state: "enforced"},
		{name: "direct", workspace: "direct", early: refused, late: late, own: ok, state: state},
		{name: "overlay", workspace: "overlay", early: refused, late: refused, own: ok, state: "enforced"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCaller(t, "")
			dir := filepath.Join(c.dir, "granted")
			if tt.workspace != "" {
				dir = c.workspace
			} else if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			files := tt.files
			if !strings.Contains(files, "exec") {
				files += "\n  exec = [\"SELF\"]"
			}
			profile := "files {\n  " + strings.NewReplacer("DIR", dir, "SELF", self(t)).Replace(files) + "\n}\n"
			if tt.workspace != "" {
				profile += fmt.Sprintf("workspace { mode = %q }\n", tt.workspace)
			}
			c.setProfile(profile)
			h := &hostCanaries{}
			early, later, own := filepath.Join(dir, "early"), filepath.Join(dir, "late"), filepath.Join(dir, "own")
			listen := func(path string) {
				h.listen(t, "unix", path)
				// With real privilege the agent is another user of the host.
				if err := os.Chmod(path, 0o777); err != nil {
					t.Fatal(err)
				}
			}
			listen(early)
			ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
			defer cancel()
			status, statusEnd, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer status.Close()
			cmd := c.command(ctx, []string{"--status-fd", "3"}, self(t), helperArg, "sockets", early, later, "own:"+own)
			cmd.ExtraFiles = []*os.File{statusEnd}
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			var stderr strings.Builder
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			statusEnd.Close()
			answers := bufio.NewReader(out)
			if line, err := answers.ReadString('\n'); line != "ready\n" {
				t.Fatalf("%q %v\n%s", line, err, stderr.String())
			}
			listen(later)
			if _, err := in.Write([]byte("go\n")); err != nil {
				t.Fatal(err)
			}
			var got map[string]string
			if err := json.NewDecoder(answers).Decode(&got); err != nil {
				t.Fatalf("%v\n%s", err, stderr.String())
			}
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%v\n%s", err, stderr.String())
			}
			for path, want := range map[string]string{early: tt.early, later: tt.late, "own:" + own: tt.own} {
				if got[path] != want {
					t.Errorf("%s: %q, want %q", path, got[path], want)
				}
			}
			o := &outcome{t: t, stderr: stderr.String()}
			if err := json.NewDecoder(status).Decode(&o.status); err != nil {
				t.Fatal(err)
			}
			var first struct {
				Unmapped struct{ Layers []audit.Layer }
			}
			if err := json.Unmarshal(o.events()[0].Raw, &first); err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(first.Unmapped.Layers, func(l audit.Layer) bool { return l.Name == "unix sockets" })
			if i < 0 || first.Unmapped.Layers[i].State != tt.state {
				t.Errorf("the trail's first event has the layers %+v, want the sockets' %s", first.Unmapped.Layers, tt.state)
			}
			if n := h.hits.Load(); tt.early == refused && tt.late == refused && n != 0 {
				t.Errorf("%d connections came to the host's sockets", n)
			}
		})
	}
	t.Run("socket", func(t *testing.T) {
		c := newCaller(t, "")
		path := filepath.Join(c.home, "daemon")
		(&hostCanaries{}).listen(t, "unix", path)
		c.setProfile(fmt.Sprintf("files { read = [%q] }\n", path))
		o := c.run("true")
		if o.code != 125 || !strings.Contains(o.stderr, "is a Unix socket") || !strings.Contains(o.stderr, "test.hcl:1") {
			t.Errorf("exit code %d\n%s", o.code, o.stderr)
		}
	})
}
