package run

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestCheckStatusFD(t *testing.T) {
	dup := func(f *os.File) int { // as a shell gives it: open across an exec
		fd, err := syscall.Dup(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Close(fd) })
		return fd
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	read, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	for _, c := range []struct {
		name string
		fd   int
		want string
	}{
		{"none", -1, ""},
		{"the caller's", dup(null), ""},
		{"one of ours, which no caller gave", int(null.Fd()), "is not open"},
		{"closed", 1 << 20, "is not open"},
		{"for reading only", dup(read), "can't be written"},
	} {
		if err := checkStatusFD(c.fd); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	fd := dup(null)
	if err := checkStatusFD(fd); err != nil {
		t.Fatal(err)
	}
	if err := checkStatusFD(fd); err == nil {
		t.Error("the descriptor is not closed on exec: whatever we start inherits it")
	}
}

func TestCheckArtifacts(t *testing.T) {
	dir := t.TempDir()
	for path, content := range map[string]string{"file": "x", "used/changes.patch": "x", "other/log": "x"} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"new/deep": "", "other": "", "file": "is no folder", "file/x": "not a directory", "used": "has a changes.patch already",
	} {
		err := checkArtifacts(filepath.Join(dir, name))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckOutputs(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Name: "nightly 2"}, ""},
		{Options{Name: "a/b"}, "looks like a file"},
		{Options{Name: "a.jsonl"}, "looks like a file"},
		{Options{Name: "last"}, "another meaning"},
		{Options{Name: "-f"}, "another meaning"},
		{Options{Name: "a\nb"}, "control character"},
		{Options{Audit: "a\nb"}, "control character"},
		{Options{Artifacts: "a\xff"}, "not valid UTF-8"},
	} {
		c.o.StatusFD = -1
		err := checkOutputs(c.o, "/")
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
}
