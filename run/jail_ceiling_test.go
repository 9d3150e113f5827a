package run_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// machine runs a command with a ceiling in /etc/agentjail, in a mount namespace of its
// own whose /etc is an overlay: the host's /etc stays as it is.
const machine = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" /etc
mkdir -p /etc/agentjail
printf %s "$2" >/etc/agentjail/ceiling.hcl
chmod "$3" /etc/agentjail/ceiling.hcl
shift 3
exec "$@"`

// TestJailCeiling: a profile that asks for more than the machine's owner lets gets no
// more than that, in a real jail; and no run starts under a ceiling that somebody else
// could have written, whatever the caller's environment says.
func TestJailCeiling(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can put a file of root's into /etc, also in a namespace of its own")
	}
	unshare := needTool(t, "unshare")
	needTool(t, "curl")
	c := newCaller(t, "")
	toolchain := filepath.Join(c.home, "toolchain")
	for _, name := range []string{"let/file", "kept/file"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(toolchain, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(toolchain, name), []byte(name+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	asked := make(chan string, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		w.Write([]byte("answer\n"))
	}))
	t.Cleanup(srv.Close)
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.setProfile(`workspace { mode = "direct" }
files { read = ["` + toolchain + `"] }
network {
  allow "127.0.0.1:` + port + `" { protocol = "http" }
}
process { pass_env = ["AJ_SECRET", "LANG"] }
`)
	c.env = append(c.env, "AJ_SECRET=of the host", "AGENTJAIL_CEILING=/dev/null", "XDG_CONFIG_DIRS=/nowhere")
	ceiling := `workspace { mode = "overlay" }
files {
  read = ["` + toolchain + `/let", "/etc", "/usr", "/bin", "/lib", "/lib64", "/sbin"]
}
network {
  allow "127.0.0.1" {
    ports    = [` + port + `]
    protocol = "http"
    request "GET" "/let" {}
  }
}
process { pass_env = ["LANG"] }
`
	run := func(ceiling, mode string, argv ...string) (string, string, int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
		defer cancel()
		cmd := c.command(ctx, []string{"-q"}, argv...)
		wrapped := exec.CommandContext(ctx, unshare, append([]string{"--mount", "sh", "-c", machine, "sh", t.TempDir(), ceiling, mode}, cmd.Args...)...)
		wrapped.Args[len(wrapped.Args)-len(cmd.Args)] = cmd.Path
		wrapped.Env, wrapped.Dir = cmd.Env, cmd.Dir
		var stdout, stderr bytes.Buffer
		wrapped.Stdout, wrapped.Stderr = &stdout, &stderr
		code := exitOf(t, wrapped.Run())
		return stdout.String(), stderr.String(), code
	}
	script := `cat "$1/let/file"; cat "$1/kept/file"; echo "secret: $AJ_SECRET"; echo x >written
curl -s "http://127.0.0.1:$2/let"; curl -s -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:$2/other"; exit 0`
	out, errs, code := run(ceiling, "644", "sh", "-c", script, "sh", toolchain, port)
	if want := "let/file\nsecret: \nanswer\n403\n"; out != want || code != 0 {
		t.Errorf("exit code %d, stdout %q, want %q\n%s", code, out, want, errs)
	}
	if _, err := os.Stat(filepath.Join(c.workspace, "written")); err == nil {
		t.Error("the workspace was changed, and the ceiling lets it be an overlay only")
	}
	if len(asked) != 1 || <-asked != "/let" {
		t.Error("the host was asked for what the ceiling does not let")
	}
	// Without it, all of that is there: the ceiling is what took it away.
	if o := c.must("sh", "-c", script, "sh", toolchain, port); o.stdout != "let/file\nkept/file\nsecret: of the host\nanswer\n200\n" {
		t.Errorf("without a ceiling: %q\n%s", o.stdout, o.stderr)
	}
	elsewhere := `workspace { path = "` + c.home + `" }`
	if out, errs, code := run(elsewhere, "644", "echo", "ran"); code != 125 || out != "" || !strings.Contains(errs, "which this machine's ceiling wants it to be in") {
		t.Errorf("a workspace outside of the ceiling's folder: exit code %d, stdout %q\n%s", code, out, errs)
	}
	for mode, text := range map[string]string{"666": ceiling, "644": "files { raed = [] }"} {
		if out, errs, code := run(text, mode, "echo", "ran"); code != 125 || strings.Contains(out, "ran") || !strings.Contains(errs, "/etc/agentjail/ceiling.hcl") {
			t.Errorf("mode %s: exit code %d, stdout %q\n%s", mode, code, out, errs)
		}
	}
}
