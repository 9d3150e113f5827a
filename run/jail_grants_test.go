package run_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestJailPrivateGrants gives the agent what on the host only its owner can reach: a
// file and a folder below a home of mode 0700. With real privilege the jail's first
// process is another user than the owner, so these come in another way than the rest.
func TestJailPrivateGrants(t *testing.T) {
	c := newCaller(t, "")
	file, folder := filepath.Join(c.home, "notes.txt"), filepath.Join(c.home, "notes")
	for _, f := range []string{file, filepath.Join(folder, "inner")} {
		if err := os.MkdirAll(filepath.Dir(f), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, []byte("read me\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	beside := newCanary(t, filepath.Join(c.home, "beside"), "not granted\n")
	for _, grant := range []string{"read", "write"} {
		t.Run(grant, func(t *testing.T) {
			c.t = t
			c.t = t
			c.setProfile(fmt.Sprintf("files {\n  %s = [%q, %q]\n}\n", grant, file, folder))
			o := c.must("sh", "-c", `cat "$0" "$1/inner" && ! cat "$2" 2>/dev/null && echo written 2>/dev/null >"$0"; echo $?`,
				file, folder, beside.path)
			want := map[string]string{"read": "read me\nread me\n2\n", "write": "read me\nread me\n0\n"}[grant]
			if o.stdout != want {
				t.Errorf("stdout %q, want %q\n%s", o.stdout, want, o.stderr)
			}
		})
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "written\n" {
		t.Errorf("the file that the agent may write holds %q %v", data, err)
	}
	beside.check(t)
}
