package run_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/script/*.txt against the built binary: what a person
// types, what is answered, and the exit code. They run as root and again as an
// ordinary user, like the jail tests.
//
// Beside testscript's own commands there are
//
//	exits CODE ARG...   agentjail ARG... ends with exactly this code
//	waitfor FILE        until somebody else's program has made FILE
func TestScripts(t *testing.T) {
	bin := binary(t)
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			home, runtime, path := filepath.Join(env.WorkDir, "home"), filepath.Join(env.WorkDir, "run"), filepath.Join(env.WorkDir, "bin")
			for _, dir := range []string{home, runtime, path, filepath.Join(env.WorkDir, "work")} {
				if err := os.MkdirAll(dir, 0o700); err != nil {
					return err
				}
			}
			if err := os.Symlink(bin, filepath.Join(path, "agentjail")); err != nil {
				return err
			}
			env.Vars = append(env.Vars, "HOME="+home, "XDG_RUNTIME_DIR="+runtime, "PATH="+path+":"+os.Getenv("PATH"), "TMPDIR="+os.TempDir())
			env.Cd = filepath.Join(env.WorkDir, "work")
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, errors.New("there is no such condition")
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   exits,
			"waitfor": waitfor,
		},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	var ee *exec.ExitError
	switch err := ts.Exec("agentjail", args[1:]...); {
	case errors.As(err, &ee):
		code = ee.ExitCode()
	default:
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("agentjail %s: exit code %d, want %d", strings.Join(args[1:], " "), code, want)
	}
}

func waitfor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitfor FILE")
	}
	// Bounded by the suite's own deadline, and by nothing else's speed.
	for {
		over := len(ts.BackgroundCmds()) > 0
		for _, cmd := range ts.BackgroundCmds() {
			over = over && cmd.ProcessState != nil
		}
		if info, err := os.Stat(ts.MkAbs(args[0])); err == nil && info.Size() > 0 {
			return
		}
		if over {
			ts.Fatalf("every program in the background has ended, and there is no %s", args[0])
		}
		time.Sleep(5 * time.Millisecond)
	}
}
