package run_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// passes waits for a file system's clock to go on after a file was written, so that the
// file is older than what comes.
func passes(t *testing.T, path string) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	for {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now); err != nil {
			t.Fatal(err)
		}
		if now.Nano() > st.Ctim.Nano() {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// TestJailDirectContent: in direct mode what the agent changed stays, and what only the
// content of a file tells is told: on standard error, in the status, in the trail, in the
// report. What it did not change is not.
func TestJailDirectContent(t *testing.T) {
	c := newCaller(t, direct(`apply {
  allow "tool/**" { reason = "the agent keeps it" }
}
`+fmt.Sprintf("files { exec = [%q] }\n", self(t))))
	const key = "AKIAIOSFODNN7EXAMPLE"
	for name, content := range map[string]string{
		"old.go": "package a\n//go:generate sh x\n", "main.go": "package a\n", "gen.go": "package a\n", "mapped.go": "package a\n//no-generate sh evil\n", "notes.txt": "hello\n",
		"package-lock.json":     "{\"resolved\": \"https://registry.example/a\"}\n",
		"sub/package-lock.json": "{\"resolved\": \"https://registry.example/a\"}\n",
		"run.sh":                "#!/bin/sh\n",
	} {
		c.write(name, content)
	}
	if err := os.Chmod(filepath.Join(c.workspace, "run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	last := c.write("data.txt", "x\n")
	passes(t, last)
	o := c.must("sh", "-c", `set -e
echo 'package b' >main.go
touch -r old.go /tmp/then
printf 'package a\n//go:generate sh evil\n' >gen.go; touch -r /tmp/then gen.go
echo '{"resolved": "https://registry.example/b"}' >package-lock.json
echo '{"resolved": "https://evil.example/b"}' >sub/package-lock.json
printf 'if admin \342\200\256 {\n' >turned.txt
printf 'def p\321\200int(): pass\n' >alike.py
mkdir -p deep/er; echo 'key = `+key+`' >deep/er/.hidden
echo '#!/bin/sh' >new.sh; chmod 755 new.sh
mkdir tool; echo '#!/bin/sh' >tool/x; chmod 755 tool/x
echo : >>run.sh
ln -s /etc/passwd out; ln -s notes.txt in
printf 'x\000`+key+`' >data.bin
`+self(t)+" "+helperArg+" mapping mapped.go '//no-generate' '//go:generate'")
	want := map[string]string{"gen.go": "it has a go:generate line", "mapped.go": "it has a go:generate line", "sub/package-lock.json": "new: evil.example", "turned.txt": "direction of text", "alike.py": "look alike",
		"deep/er/.hidden": "credential", "new.sh": "new executable", "out": "out of the workspace"}
	got := map[string]string{}
	for _, f := range o.status.Flagged {
		got[f.Path] = strings.Join(f.Why, "; ")
	}
	for name, why := range want {
		if !strings.Contains(got[name], why) {
			t.Errorf("%s: %q, want %q", name, got[name], why)
		}
	}
	// Where a file system does not keep the time of a change, all of it is looked into.
	known := !onTmpfs(t, c.workspace)
	for name := range got {
		if _, ok := want[name]; !ok && (known || name != "old.go") {
			t.Errorf("%s is told of: %s", name, got[name])
		}
	}
	if strings.Contains(o.stderr, key) || !strings.Contains(o.stderr, "in the workspace before anything runs or trusts it:") || strings.Contains(o.stderr, "nobody looked into") {
		t.Errorf("standard error: %s", o.stderr)
	}
	if data, err := os.ReadFile(filepath.Join(c.workspace, "gen.go")); err != nil || !strings.Contains(string(data), "evil") {
		t.Errorf("gen.go was not left where it is: %q %v", data, err)
	}
	wantEvent(t, o.events(), "the finding", func(v audit.View, e audit.Event) bool {
		return v.Kind == "finding" && v.Target == "changed in the host's own folder: gen.go" && strings.Contains(v.Reason, "go:generate")
	})
	if out, err := c.agentjail(t.Context(), "report", o.status.RunID).CombinedOutput(); err != nil || !strings.Contains(string(out), "gen.go: ") {
		t.Errorf("report: %v: %s", err, out)
	}
}

// TestJailDirectContentIsBounded: what was not looked into is said.
func TestJailDirectContentIsBounded(t *testing.T) {
	c := newCaller(t, direct(""))
	o := c.must("sh", "-c", fmt.Sprintf("seq -f f%%.0f %d | xargs touch; mkdir a; echo '//go:generate x' >a/z.go", 20_050))
	if o.status.Unlooked < 50 || len(o.status.Flagged) != 1 || o.status.Flagged[0].Path != "a/z.go" {
		t.Errorf("%d not looked into, flagged %v", o.status.Unlooked, o.status.Flagged)
	}
	if !strings.Contains(o.stderr, "nobody looked into") {
		t.Errorf("nobody is told: %s", o.stderr)
	}
}

func onTmpfs(t *testing.T, dir string) bool {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return st.Type == unix.TMPFS_MAGIC
}

// mappingMain writes into a file through a shared mapping only: mapping FILE OLD NEW, of
// one length.
func mappingMain(args []string) int {
	err := func() error {
		var st unix.Stat_t
		if err := unix.Stat(args[0], &st); err != nil {
			return err
		}
		f, err := os.OpenFile(args[0], os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		m, err := unix.Mmap(int(f.Fd()), 0, int(st.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		at := bytes.Index(m, []byte(args[1]))
		if at < 0 || len(args[1]) != len(args[2]) {
			return fmt.Errorf("%q is not in it, or not as long as %q", args[1], args[2])
		}
		copy(m[at:], args[2])
		return unix.Munmap(m)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
