package run

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/run/changes"
)

// TestRetire: what is old or too much goes, the newest stay, and nothing that is nowhere
// else goes without being named.
func TestRetire(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	code := 0
	add := func(d Dirs, id string, days int, i Info) string {
		t.Helper()
		i.ID, i.Started, i.ExitCode = id, now.AddDate(0, 0, -days), &code
		ended := i.Started.Add(time.Minute)
		i.Ended = &ended
		if i.Artifacts == "" {
			i.Artifacts = filepath.Join(d.State, "runs", id, dirKept)
		}
		return stateRun(t, d, i)
	}
	list := func(paths ...string) *changes.List {
		l := &changes.List{Complete: true}
		for _, p := range paths {
			l.Changes = append(l.Changes, changes.Change{Op: audit.FileCreated, Path: p, After: &changes.FileState{Type: changes.TypeFile, Mode: 0o644}})
		}
		return l
	}
	write := func(path string, l *changes.List) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := writeFile(path, l.WriteJSON); err != nil {
			t.Fatal(err)
		}
	}
	d := testDirs(t)
	add(d, "new", 1, Info{Changes: 1})
	add(d, "nothing", 40, Info{})
	partly := add(d, "partly", 41, Info{Changes: 2, Name: "p"})
	write(filepath.Join(partly, fileChanges), list("a", "b"))
	write(filepath.Join(partly, dirApplies, "1", "undo.json"), list("a"))
	whole := add(d, "whole", 42, Info{Changes: 2})
	write(filepath.Join(whole, fileChanges), list("a", "b"))
	write(filepath.Join(whole, dirApplies, "1", "undo.json"), list("a", "b"))
	for _, dir := range []string{partly, whole} {
		if err := os.WriteFile(filepath.Join(dir, dirApplies, "1", "undo.data"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	add(d, "exported", 43, Info{Changes: 2, Artifacts: "/elsewhere"})
	add(d, "taken", 44, Info{Taken: []string{".envrc"}, Mode: "direct"})
	unread := add(d, "unread", 45, Info{Changes: 2})
	if err := os.WriteFile(filepath.Join(unread, fileChanges), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	running := add(d, "running", 46, Info{})
	alive, err := lock(filepath.Join(running, fileLock))
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	if err := writeInfo(running, Info{ID: "running", Started: now.AddDate(0, 0, -46)}); err != nil {
		t.Fatal(err)
	}

	left := func() (ids []string) {
		t.Helper()
		ids, err := runFolders(d)
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	ids := func(paths []string) (out []string) {
		for _, p := range paths {
			out = append(out, filepath.Base(p))
		}
		return out
	}
	keep := retention{Keep: 30 * 24 * time.Hour}
	all := left()
	removed, stays, err := retire(d, keep, now, true)
	if err != nil || !slices.Equal(ids(removed), []string{"nothing", "whole", "exported"}) || !slices.Equal(left(), all) {
		t.Errorf("dry run: removed %q, left %q, %v", removed, left(), err)
	}
	var names []string
	for _, k := range stays {
		names = append(names, k.ID)
	}
	if !slices.Equal(names, []string{"partly", "taken", "unread"}) || stays[0].Has[0] != "1 change not applied" {
		t.Errorf("stays %+v", stays)
	}
	if _, _, err := retire(d, keep, now, false); err != nil || !slices.Equal(left(), []string{"new", "partly", "running", "taken", "unread"}) {
		t.Errorf("left %q, %v", left(), err)
	}
	keep.Force = true
	if _, stays, err := retire(d, keep, now, false); err != nil || len(stays) != 3 || !slices.Equal(left(), []string{"new", "running"}) {
		t.Errorf("with force: left %q, %+v, %v", left(), stays, err)
	}
	// By size: everything but what goes on.
	if _, _, err := retire(d, retention{Size: 1, Force: true}, now, false); err != nil || !slices.Equal(left(), []string{"running"}) {
		t.Errorf("by size: left %q, %v", left(), err)
	}
	if half, err := retiredHalf(d); err != nil || len(half) > 0 {
		t.Errorf("left half removed: %q %v", half, err)
	}
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for s, want := range map[string]string{"": "0001-01-01T00:00:00Z", "10m": "2026-03-04T04:56:07Z", "2d": "2026-03-02T05:06:07Z", "04:00": "2026-03-04T04:00:00Z", "23:30": "2026-03-03T23:30:00Z",
		"2026-01-01": "2026-01-01T00:00:00Z", "2026-01-01T02:00:00+01:00": "2026-01-01T01:00:00Z"} {
		got, err := parseSince(s, now)
		if err != nil || got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%q: %v %v, want %s", s, got, err, want)
		}
	}
	if _, err := parseSince("yesterday", now); err == nil {
		t.Error("a word is a time")
	}
}
