package run_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A file that is read may be replaced while a jail is built, as apt does it with
// /etc/ld.so.cache: the run begins all the same.
func TestJailReplacedFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "cache")
	content := func(n int64) string { return fmt.Sprintf("version %d of the file\n", n) }
	replace := func(n int64) error {
		if err := os.WriteFile(path+"~", []byte(content(n)), 0o644); err != nil {
			return err
		}
		return os.Rename(path+"~", path)
	}
	if err := replace(0); err != nil {
		t.Fatal(err)
	}
	c := newCaller(t, fmt.Sprintf("files { read = [%q] }\n", path))
	clock := time.Now()
	c.must("cat", path)
	took := time.Since(clock)

	stop, done := make(chan struct{}), make(chan struct{})
	var count atomic.Int64
	go func() {
		defer close(done)
		// Seldom enough that a run that begins anew is left in peace.
		for tick := time.NewTicker(3*took + 100*time.Millisecond); ; {
			select {
			case <-stop:
				return
			case <-tick.C:
				if replace(count.Add(1)) != nil {
					return
				}
			}
		}
	}()
	for range 25 {
		if o := c.run("cat", path); o.code != 0 || !strings.HasPrefix(o.stdout, "version ") {
			t.Errorf("exit code %d: %s%s", o.code, o.stdout, o.stderr)
			break
		}
	}
	close(stop)
	<-done
	if t.Logf("replaced %d times", count.Load()); count.Load() == 0 {
		t.Error("the file was never replaced")
	}
	c.wantNothingLeft()
}
