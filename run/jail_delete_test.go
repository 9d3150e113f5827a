package run_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// deletesMain deletes in every way that there is, from 8 threads at once, and says how
// many were let through and how many refused. A path is rewritten while the supervisor
// may look at it.
func deletesMain([]string) int {
	var ok, refused atomic.Int64
	count := func(err error) {
		switch {
		case err == nil:
			ok.Add(1)
		case errors.Is(err, unix.EPERM):
			refused.Add(1)
		default:
			fmt.Println(err)
		}
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 12 {
				name := fmt.Sprintf("f%d-%d", i, n)
				if err := os.WriteFile(name, nil, 0o600); err != nil {
					fmt.Println(err)
				}
				switch n % 6 {
				case 0:
					count(unix.Unlink(name))
				case 1:
					count(unix.Unlinkat(unix.AT_FDCWD, name, 0))
				case 2:
					count(unix.Rename(name, "target"))
				case 3:
					count(unix.Renameat(unix.AT_FDCWD, name, unix.AT_FDCWD, "target"))
				case 4:
					count(unix.Renameat2(unix.AT_FDCWD, name, unix.AT_FDCWD, "target", 0))
				case 5:
					if err := os.Mkdir(name+"d", 0o700); err != nil {
						fmt.Println(err)
					}
					count(unix.Rmdir(name + "d"))
				}
			}
		})
	}
	wg.Wait()
	fmt.Println(ok.Load(), refused.Load())
	return 0
}

const deleteProfile = "files {\n  exec = [%q]\n  limit \"delete\" { rate = %q }\n}\n"

func TestJailDeleteLimit(t *testing.T) {
	t.Run("exact", func(t *testing.T) {
		c := newCaller(t, fmt.Sprintf(deleteProfile, self(t), "20/run")+"on \"limit\" { action = \"log\" }\n")
		o := c.must(self(t), helperArg, "deletes")
		if o.stdout != "20 76\n" {
			t.Errorf("let through and refused, of 96 with a limit of 20: %q", o.stdout)
		}
		comm := filepath.Base(self(t)) // of which the kernel keeps 15 bytes (proc_pid_comm(5))
		wantReached(t, o, "delete", "delete: 20/run limit reached by "+comm[:min(len(comm), 15)]+" (pid ")
	})
	t.Run("stops", func(t *testing.T) {
		c := newCaller(t, fmt.Sprintf(deleteProfile, self(t), "3/run"))
		for i := range 10 {
			c.write(fmt.Sprint("f", i), "mine\n")
		}
		o := c.run("/bin/sh", "-c", "rm -f f*; cat /run/agentjail/last-denial; sleep 1000")
		if o.code != 143 || o.status.Reason != "delete limit" || !strings.Contains(o.stdout, "as the profile allows, 3/run; no more in this run [test.hcl:3]") {
			t.Errorf("exit code %d, %+v, %q", o.code, o.status, o.stdout)
		}
		// The overlay's own truth agrees with what was counted.
		deleted := 0
		for _, e := range o.events() {
			if v := e.View(); v.Kind == "file" && strings.HasPrefix(v.Target, "delete ") {
				deleted++
			}
		}
		if deleted != 3 {
			t.Errorf("%d files were deleted, want 3", deleted)
		}
		wantEvent(t, o.events(), "the counts", func(v audit.View, e audit.Event) bool {
			return v.Kind == "end" && strings.Contains(string(e.Raw), `"file_deleted":3`)
		})
	})
	t.Run("direct", func(t *testing.T) {
		c := newCaller(t, "workspace { mode = \"direct\" }\n"+fmt.Sprintf(deleteProfile, self(t), "2/run")+"on \"limit\" { action = \"kill\" }\n")
		for i := range 10 {
			c.write(fmt.Sprint("f", i), "mine\n")
		}
		o := c.run("/bin/sh", "-c", "rm -f f* ; sleep 1000")
		left, err := filepath.Glob(filepath.Join(c.workspace, "f*"))
		if err != nil || len(left) != 8 || o.code != 137 {
			t.Errorf("%d of the host's files are left, want 8; exit code %d (%v)", len(left), o.code, err)
		}
	})
	t.Run("not with io_uring", func(t *testing.T) {
		o := newCaller(t, fmt.Sprintf(deleteProfile, self(t), "2/run")+"syscalls { allow = [\"@io_uring\"] }\n").run("true")
		if o.code != 125 || !strings.Contains(o.stderr, "test.hcl:3: a limit of deletions can't be held") {
			t.Errorf("exit code %d: %s", o.code, o.stderr)
		}
	})
}
