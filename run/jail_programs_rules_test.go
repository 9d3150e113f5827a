package run_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// execsEach is how often each of 8 threads starts a program: without a pause, so some
// thousand a second where most are refused.
const execsEach = 250

// execsMain starts a program from 8 threads at once, again and again, and says how many
// of the starts were let through.
func execsMain(args []string) int {
	var ok, refused atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range execsEach {
				if err := exec.Command(args[0], args[1:]...).Run(); err == nil {
					ok.Add(1)
				} else if strings.Contains(err.Error(), "operation not permitted") {
					refused.Add(1)
				}
			}
		})
	}
	wg.Wait()
	fmt.Println(ok.Load(), refused.Load())
	return 0
}

// memfdMain runs a copy of a program from memory.
func memfdMain(args []string) int {
	data, err := os.ReadFile(args[0])
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fd, err := unix.MemfdCreate("copy", 0)
	if err == nil {
		_, err = unix.Write(fd, data)
	}
	if err == nil {
		err = unix.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), args, os.Environ())
	}
	fmt.Println(err)
	return 1
}

// tryExecs runs each command line in one jail and gives what each answered: "ran", or
// the shell's exit code and what last-denial says by then.
func tryExecs(t *testing.T, c *caller, lines ...string) []string {
	t.Helper()
	var script strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&script, "( %s ) >/tmp/out 2>&1; code=$?; echo \"@$code $(cat /run/agentjail/last-denial | tr '\\n' ' ')\"; cat /tmp/out | sed 's/^/  /' >&2\n", l)
	}
	o := c.must("/bin/bash", "-c", script.String())
	t.Log(o.stdout, o.stderr)
	return strings.Split(strings.TrimPrefix(strings.TrimSpace(o.stdout), "@"), "\n@")
}

const execProfile = `
files { exec = ["%s"] }
process {
  %s
}
`

func TestJailProgramRules(t *testing.T) {
	loader, err := filepath.EvalSymlinks("/lib64/ld-linux-x86-64.so.2")
	if err != nil {
		t.Skip("the host lacks /lib64/ld-linux-x86-64.so.2")
	}
	perl := needTool(t, "perl")
	t.Run("masked", func(t *testing.T) {
		c := newCaller(t, fmt.Sprintf(execProfile, self(t), `deny "perl" { reason = "no perl here" }`))
		c.write("script", "#!"+perl+"\nprint 1;\n")
		if err := os.Chmod(filepath.Join(c.workspace, "script"), 0o755); err != nil {
			t.Fatal(err)
		}
		lines := []string{"perl -e 1", perl + " -e 1", "ln -s " + perl + " /tmp/l && /tmp/l -e 1", "./script", loader + " " + perl + " -e 1",
			"cd /proc/self/root; exec ./" + perl + " -e 1"}
		// Debian's perl has a second name for the same file (a hard link).
		other, _ := filepath.Glob("/usr/bin/perl5.*.*")
		for _, p := range other {
			a, err := os.Stat(p)
			b, berr := os.Stat(perl)
			if err == nil && berr == nil && os.SameFile(a, b) {
				lines = append(lines, p+" -e 1")
			}
		}
		for i, got := range tryExecs(t, c, lines...) {
			if strings.HasPrefix(got, "0") || !strings.Contains(got, "no perl here") || !strings.Contains(got, "test.hcl:4") {
				t.Errorf("%s: %s", lines[i], got)
			}
		}
		// Nothing is left to copy.
		if o := c.run("/bin/sh", "-c", "cat "+perl+" | wc -c"); strings.TrimSpace(o.stdout) != "0" {
			t.Errorf("the program can be read: %s bytes", o.stdout)
		}
		o := c.run("/bin/sh", "-c", perl+" -e 1; true")
		wantEvent(t, o.events(), "the refused exec", func(v audit.View, e audit.Event) bool {
			return strings.Contains(string(e.Raw), `"Denied"`) && strings.Contains(string(e.Raw), "no perl here")
		})
	})
	t.Run("not masked", func(t *testing.T) {
		// A rule with arguments is about a start, not about the file: nothing hides it.
		c := newCaller(t, fmt.Sprintf(execProfile, self(t), `deny "true" "no" {}`))
		bin := needTool(t, "true")
		lines := []string{"ln -s " + bin + " /tmp/l && /tmp/l no", "cp " + bin + " /tmp/c && /tmp/c no", loader + " " + bin + " no",
			self(t) + " " + helperArg + " memfd " + bin + " no", "exec -a x " + bin + " no",
			"printf '#!" + bin + " no\\n' >/tmp/s; chmod +x /tmp/s; /tmp/s",
			"cd /tmp; ln -s /usr/lib lib; lib/../bin/true no"}
		for i, got := range tryExecs(t, c, lines...) {
			if strings.HasPrefix(got, "0") || !strings.Contains(got, "the profile denies true no") {
				t.Errorf("%s: %s", lines[i], got)
			}
		}
		got := tryExecs(t, c, "mkdir /tmp/gone; cd /tmp/gone; rmdir /tmp/gone; ../.."+bin+" no")
		if strings.HasPrefix(got[0], "0") || !strings.Contains(got[0], "can't be told") {
			t.Errorf("from a deleted folder: %s", got[0])
		}
		// What does not hold, and docs/profile-programs.md says so.
		free := []string{bin + " yes", "cp " + bin + " /tmp/c2 && echo >>/tmp/c2 && /tmp/c2 no", "cp " + loader + " /tmp/loader && /tmp/loader " + bin + " no"}
		for i, got := range tryExecs(t, c, free...) {
			if !strings.HasPrefix(got, "0") {
				t.Errorf("%s: %s", free[i], got)
			}
		}
	})
	t.Run("new", func(t *testing.T) {
		c := newCaller(t, fmt.Sprintf(execProfile, self(t), `exec_new = "deny"`))
		bin := needTool(t, "true")
		c.write("mine", "#!/bin/sh\nexit 0\n")
		if err := os.Chmod(filepath.Join(c.workspace, "mine"), 0o755); err != nil {
			t.Fatal(err)
		}
		lines := []string{"cp " + bin + " /tmp/c && /tmp/c", "cp " + bin + " ~/c && ~/c", "cp " + bin + " c && ./c", "mkdir d; cd d; printf '#!/bin/sh\\n' >s; chmod +x s; ./s",
			self(t) + " " + helperArg + " memfd " + bin, loader + " ./c", "cd d; rm s; cp " + bin + " x; rm -r ../d; ./x"}
		for i, got := range tryExecs(t, c, lines[:6]...) {
			if strings.HasPrefix(got, "0") || !strings.Contains(got, "that the agent wrote") {
				t.Errorf("%s: %s", lines[i], got)
			}
		}
		// The host's own programs and the project's run; once touched they are the agent's.
		got := tryExecs(t, c, "./mine", "true", "echo >>mine; ./mine")
		if !strings.HasPrefix(got[0], "0") || !strings.HasPrefix(got[1], "0") || strings.HasPrefix(got[2], "0") {
			t.Errorf("%q", got)
		}
	})
	t.Run("marked", func(t *testing.T) {
		c := newCaller(t, "")
		o := c.must("/bin/sh", "-c", "cp /bin/true /tmp/mine && /tmp/mine")
		wantEvent(t, o.events(), "the agent's own program", func(v audit.View, e audit.Event) bool {
			return strings.Contains(string(e.Raw), `"agent_wrote":true`) && strings.Contains(string(e.Raw), `"/tmp/mine"`)
		})
	})
}

// 8 threads race for the starts of one limit.
func TestJailProgramLimit(t *testing.T) {
	c := newCaller(t, fmt.Sprintf(execProfile, self(t), `limit "true" { rate = "20/run" }`))
	o := c.must(self(t), helperArg, "execs", needTool(t, "true"))
	var ok, refused int
	if _, err := fmt.Sscan(o.stdout, &ok, &refused); err != nil {
		t.Fatal(err)
	}
	if ok != 20 || refused != 8*execsEach-20 {
		t.Errorf("%d starts were let through and %d refused, of %d with a limit of 20", ok, refused, 8*execsEach)
	}
	if o.status.Refused != int64(refused) {
		t.Errorf("the run counts %d refused, want %d", o.status.Refused, refused)
	}
}
