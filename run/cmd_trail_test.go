package run

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentjail/agentjail/audit"
)

// testTrail writes a whole trail with one refused and one allowed attempt.
func testTrail(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), fileAudit)
	clock := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w, err := audit.Create(path, audit.Config{RunID: "r1", Version: "test", Size: audit.MinSize, Clock: func() time.Time { return clock }})
	if err != nil {
		t.Fatal(err)
	}
	w.Emit(audit.RunStart{RunID: "r1", Argv: []string{"true"}, Profile: "default"})
	w.Emit(audit.Exec{Process: audit.Process{PID: 7, Name: "true", Path: "/bin/true", Argv: []string{"true"}}, Outcome: audit.Allowed})
	w.Emit(audit.DNS{Name: "refused.example", Type: "A", RCode: "NXDomain", Outcome: audit.Blocked, Reason: "no rule"})
	w.Emit(audit.RunEnd{Reason: "exited"})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func show(t *testing.T, data []byte, o logOptions) (out, errs string, err error) {
	t.Helper()
	var a, b bytes.Buffer
	err = showEvents(&a, &b, audit.Read(bytes.NewReader(data)), o)
	return a.String(), b.String(), err
}

func TestShowEvents(t *testing.T) {
	data, err := os.ReadFile(testTrail(t))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(data), "\n")

	out, _, err := show(t, data, logOptions{})
	if err != nil || strings.Count(out, "\n") != 4 || !strings.Contains(out, "03:04:05.000 dns      blocked  A refused.example NXDomain: no rule\n") {
		t.Errorf("%v\n%s", err, out)
	}
	out, _, err = show(t, data, logOptions{denied: true})
	if err != nil || strings.Count(out, "\n") != 1 || !strings.Contains(out, "refused.example") {
		t.Errorf("only what was refused: %v\n%s", err, out)
	}
	out, _, err = show(t, data, logOptions{json: true})
	if err != nil || out != string(data) {
		t.Errorf("the events are not passed on as they are: %v\n%s", err, out)
	}

	// A bad line does not hide those behind it, and is not passed over in silence.
	bad := lines[0] + "{\"\x1b[31m\n" + strings.Join(lines[1:], "")
	out, errs, err := show(t, []byte(bad), logOptions{})
	if exitCode(err) != 1 || strings.Count(out, "\n") != 4 || !strings.Contains(errs, "line 2 is no event") {
		t.Errorf("exit %d\n%s%s", exitCode(err), out, errs)
	}
	if strings.Contains(out+errs, "\x1b") {
		t.Errorf("an escape sequence of the trail's reached the terminal: %q", out+errs)
	}

	// What a kill leaves is no mistake of the trail's.
	out, errs, err = show(t, data[:len(data)-20], logOptions{})
	if err != nil || strings.Count(out, "\n") != 3 || !strings.Contains(errs, "the last line is cut off") {
		t.Errorf("%v\n%s%s", err, out, errs)
	}
}

func TestVerifyTrail(t *testing.T) {
	for _, c := range []struct {
		name  string
		harm  func(t *testing.T, path string)
		run   *Info
		state audit.State
		code  int
		says  string
	}{
		{"whole", nil, nil, audit.Sealed, 0, "every event holds, and the head names the last one"},
		{"whole, of its run", nil, &Info{ID: "r1"}, audit.Sealed, 0, "sealed, 4 events, run r1"},
		{"another run's", nil, &Info{ID: "r2"}, audit.Tampered, 1, `the head is of run`},
		{"edited", func(t *testing.T, path string) { edit(t, path, "refused.example", "allowed.example") }, nil, audit.Tampered, 1, "line 3 is the first that does not hold"},
		{"shortened", func(t *testing.T, path string) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, data[:bytes.LastIndexByte(data[:len(data)-1], '\n')+1], 0o600); err != nil {
				t.Fatal(err)
			}
		}, nil, audit.Tampered, 1, "line 4 is the first that does not hold"},
		{"head taken from an ended run", removeHead, &Info{ID: "r1", Ended: &time.Time{}}, audit.Unsealed, 2, "somebody removed it"},
		{"killed", removeHead, &Info{ID: "r1"}, audit.Unsealed, 2, "killed or the machine stopped"},
		{"head taken, no run known", removeHead, nil, audit.Unsealed, 2, "there is no head"},
		{"broken head", func(t *testing.T, path string) {
			if err := os.WriteFile(audit.HeadPath(path), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, nil, audit.Tampered, 1, "head is not valid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := testTrail(t)
			if c.harm != nil {
				c.harm(t, path)
			}
			r, err := verifyTrail(trail{path: path, run: c.run})
			if err != nil {
				t.Fatal(err)
			}
			text := verdictText(path, r, c.run)
			if r.State != c.state || exitCode(verdictExit(r.State)) != c.code || !strings.Contains(text, c.says) {
				t.Errorf("%s, exit %d:\n%s", r.State, exitCode(verdictExit(r.State)), text)
			}
		})
	}
	if _, err := verifyTrail(trail{path: filepath.Join(t.TempDir(), fileAudit)}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a trail that is not there: %v", err)
	}
}

func removeHead(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(audit.HeadPath(path)); err != nil {
		t.Fatal(err)
	}
}

func edit(t *testing.T, path, old, new string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte(old)) {
		t.Fatalf("%s has no %q", path, old)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(data, []byte(old), []byte(new)), 0o600); err != nil {
		t.Fatal(err)
	}
}
