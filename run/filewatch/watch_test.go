package filewatch

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

// watchDir watches a folder, and gives what it tells of once it is closed.
func watchDir(t *testing.T, dir string) (*Watch, func() []string, error) {
	t.Helper()
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	var mu sync.Mutex
	var told []string
	w, err := Start(Config{Root: root, Direct: true, Size: 200 << 20, Emit: func(r audit.Record) {
		mu.Lock()
		defer mu.Unlock()
		if f, ok := r.(audit.LiveFile); ok {
			told = append(told, fmt.Sprint(f.Op, " ", f.OldPath, " ", f.Path))
		}
	}})
	return w, func() []string { w.Close(); return told }, err
}

// What happened just before the end is not lost, and a folder that was there is watched.
func TestWatchClose(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a/b/c"), 0o755); err != nil {
		t.Fatal(err)
	}
	w, told, err := watchDir(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a/b/c/x", "y"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The folder's own watch goes with it.
	for _, pair := range [][2]string{{"a/b", "d"}, {"d/c/x", "d/c/z"}} {
		if err := os.Rename(filepath.Join(dir, pair[0]), filepath.Join(dir, pair[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "y")); err != nil {
		t.Fatal(err)
	}
	want := "created  a/b/c/x|created  y|renamed a/b d|renamed d/c/x d/c/z|deleted  y"
	if got := strings.Join(told(), "|"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	w.Close()
	if w.Totals() != (Totals{Created: 2, Renamed: 2, Deleted: 1}) {
		t.Errorf("%+v", w.Totals())
	}
}

// More folders than are watched are none: half of them would be told of as if it were all.
func TestWatchTooMany(t *testing.T) {
	dir := t.TempDir()
	for i := range maxWatches {
		if err := os.Mkdir(filepath.Join(dir, fmt.Sprint(i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := watchDir(t, dir); err == nil {
		t.Error("they were all watched")
	}
}
