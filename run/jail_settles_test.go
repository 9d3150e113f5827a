package run_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestJailSettles: a second after the start, the supervisor and PID 1 of a jail whose agent
// waits hold no more what only the start needed. (Of pages of the program's own file; the
// rest is too little to be told from chance.)
func TestJailSettles(t *testing.T) {
	c := newCaller(t, "")
	c.ownTemp()
	c.program = copyInPages(t, binary(t), filepath.Join(c.dir, "agentjail"))
	l := c.start(t, "sh", "-c", "echo begun; read x")
	l.expect("begun")
	begun := sampleRun(t, l.cmd.Process.Pid)
	for _, name := range []string{"supervisor", "PID 1"} {
		first := begun[name]
		if first.fromFiles == 0 {
			t.Fatalf("the %s is not there: %+v", name, begun)
		}
		last := first
		for deadline := time.Now().Add(hangGuard); last.fromFiles > first.fromFiles*3/4; last = sampleRun(t, l.cmd.Process.Pid)[name] {
			if time.Now().After(deadline) {
				t.Errorf("the %s had %d KiB of files in memory as the agent began, and has %d", name, first.fromFiles, last.fromFiles)
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Logf("%s: %+v, then %+v", name, first, last)
	}
	if code := l.end(); code != 1 { // read's, at the end of its input
		t.Errorf("exit code %d: %s", code, l.stderr.String())
	}
	c.wantNothingLeft()
}

// copyInPages copies a program, a page with each write: of what was written with larger ones
// (by the linker, say) the page cache has large folios, all of which Linux 6.18 maps wherever
// a program touches a page of them (mm/filemap.c, filemap_map_pages).
func copyInPages(t *testing.T, from, to string) string {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, make([]byte, os.Getpagesize()))
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
	return to
}
