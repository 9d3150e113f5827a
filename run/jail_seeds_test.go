package run_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/jail"
)

// TestJailSeeds: the home folder begins with what the profile names, in each mode; the
// agent never changes what is on the host, does not find what the profile denies, and
// can't talk to a socket that lies in it.
func TestJailSeeds(t *testing.T) {
	c := newCaller(t, "")
	write := func(name, content string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(c.home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("app/settings", "mine\n", 0o600)
	write("app/deep/er/file", "deep\n", 0o644)
	write("rc", "rc\n", 0o600)
	secret := newCanary(t, filepath.Join(c.home, "app/secret/key"), "denied\n")
	if err := os.Symlink("settings", filepath.Join(c.home, "app/link")); err != nil {
		t.Fatal(err)
	}
	// In a short path: sun_path has 108 bytes (unix(7)).
	dir, err := os.MkdirTemp("", "aj")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := os.Rename(filepath.Join(dir, "s"), filepath.Join(c.home, "app/socket")); err != nil {
		t.Skipf("the folder for temporary files is another file system than the home folder: %v", err)
	}
	for _, tt := range []struct {
		mode    string
		changes string // what the agent's own writing says
	}{{"copy", "changed new"}, {"overlay", "changed new"}, {"readonly", "refused refused"}} {
		t.Run(tt.mode, func(t *testing.T) {
			c.t = t
			if f, err := jail.Probe(); err != nil || tt.mode == "overlay" && !f.TmpfsXattr {
				t.Skipf("the host lacks user.* attributes on tmpfs (Linux 6.6), without which no upper layer lies on one (%v)", err)
			}
			c.setProfile(fmt.Sprintf(`files {
  exec = [%[5]q]
  deny = [%[1]q]
  home ".config/app" {
    from = %[2]q
    mode = %[3]q
  }
  home ".rc" {
    from = %[4]q
    mode = %[3]q
  }
  home ".absent" { from = "/nowhere/at/all" }
  home ".denied" { from = %[1]q }
}
`, filepath.Join(c.home, "app/secret"), filepath.Join(c.home, "app"), tt.mode, filepath.Join(c.home, "rc"), self(t)))
			o := c.must("sh", "-c", `
cd ~ && cat .config/app/settings .config/app/deep/er/file .config/app/link .rc || exit 1
cat .config/app/secret/key 2>/dev/null && echo leaked
ls .config/app/secret 2>/dev/null
[ -e .absent ] && echo absent
[ -e .denied ] && echo denied
(echo x >.config/app/settings) 2>/dev/null && printf 'changed ' || printf 'refused '
(echo x >.config/app/new) 2>/dev/null && echo new || echo refused
(echo x >.rc) 2>/dev/null && echo rc changed
echo y >.config/beside && cat .config/beside
[ -O .config/app/settings ] && echo own
`)
			want := "mine\ndeep\nmine\nrc\n" + tt.changes + "\n"
			if tt.mode != "readonly" {
				want += "rc changed\n"
			}
			want += "y\nown\n"
			if o.stdout != want {
				t.Errorf("stdout %q, want %q\n%s", o.stdout, want, o.stderr)
			}
			// sh first: the helper waits for a line.
			o = c.must("sh", "-c", `[ -e "$2" ] && echo there; echo | "$0" "$1" sockets "$2"`, self(t), helperArg, "/home/agent/.config/app/socket")
			if want := map[string]string{"copy": "ENOENT ENOENT"}[tt.mode]; want != "" && !strings.Contains(o.stdout, want) ||
				want == "" && (!strings.Contains(o.stdout, "there") || !strings.Contains(o.stdout, "ECONNREFUSED ECONNREFUSED")) {
				t.Errorf("connecting to the host's socket: %s", o.stdout)
			}
		})
	}
	secret.check(t)
	for name, want := range map[string]string{"app/settings": "mine\n", "rc": "rc\n"} {
		if data, err := os.ReadFile(filepath.Join(c.home, name)); err != nil || string(data) != want {
			t.Errorf("%s on the host holds %q, %v", name, data, err)
		}
	}
	if _, err := os.Stat(filepath.Join(c.home, "app/new")); err == nil {
		t.Error("the agent's new file is on the host")
	}
	// What can't be copied is refused before anything starts.
	c.t = t
	c.setProfile(fmt.Sprintf("files {\n  home \".s\" { from = %q }\n}\n", filepath.Join(c.home, "app/socket")))
	if o := c.run("true"); o.code != 125 || !strings.Contains(o.stderr, "can't be a seed") {
		t.Errorf("a socket as a seed: exit code %d\n%s", o.code, o.stderr)
	}
}
