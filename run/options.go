package run

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// Options are the flags of `agentjail run`, checked.
type Options struct {
	Profile        string
	Workspace      string // "": the profile's
	ForceWorkspace bool
	Artifacts      string // "": below the run's state folder
	Audit          string // "": in the run's state folder
	Name           string
	Keep           bool
	DryRun         bool
	JSON           bool // the end message as JSON on stderr
	Quiet          bool
	NoRecord       bool   // leave no recording of the terminal
	RecordInput    bool   // record what is typed too
	Trace          bool   // say on stderr how long each stage took
	Metrics        string // address to serve metrics at; "": none
	MetricsRemote  bool   // it may be one that other machines reach
	StatusFD       int    // -1: none
	TTY            string
	Vars           map[string]string
	Strict         bool
	Argv           []string

	learn bool // note what the jail refuses
}

// checkCommand refuses a command that can't be meant.
func checkCommand(argv []string) error {
	if len(argv) == 0 || argv[0] == "" {
		return fmt.Errorf("there is no command to run\nhint: agentjail run --profile default -- COMMAND [ARG...]")
	}
	for _, a := range argv {
		if strings.IndexByte(a, 0) >= 0 {
			return fmt.Errorf("an argument has a NUL byte, which no program can be given")
		}
	}
	return nil
}

// checkPath refuses paths that would mislead a person who reads the trail.
func checkPath(what, path string) error {
	return checkText(what, path, "rename the folder")
}

// checkText refuses what is no text, or has what a terminal would obey.
func checkText(what, text, hint string) error {
	if !utf8.ValidString(text) {
		return fmt.Errorf("%s %q is not valid UTF-8\nhint: %s", what, text, hint)
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Errorf("%s %q has a control character in its name\nhint: %s", what, text, hint)
	}
	return nil
}

// checkWorkspace refuses a workspace that would be the host itself.
func checkWorkspace(path, home string, force bool) error {
	if err := checkPath("workspace", path); err != nil {
		return err
	}
	if force {
		return nil
	}
	why := ""
	switch {
	case path == "/":
		why = "is the whole machine"
	case path == home:
		why = "is your home folder itself, with every credential in it"
	case home != "" && strings.HasPrefix(home, path+"/"):
		why = "holds your home folder, with every credential in it"
	default:
		return nil
	}
	return fmt.Errorf("workspace %s %s\nhint: start in a project folder or name one with --workspace; --force-workspace insists", path, why)
}

// wantTerminal says whether the agent gets a pty: only if both ends are ours.
func wantTerminal(mode string, stdin, stdout *os.File) (bool, error) {
	both := term.IsTerminal(int(stdin.Fd())) && term.IsTerminal(int(stdout.Fd()))
	switch mode {
	case "", "auto":
		return both, nil
	case "never":
		return false, nil
	case "always":
		if !both {
			return false, fmt.Errorf("--tty=always: stdin and stdout are not both a terminal")
		}
		return true, nil
	}
	return false, fmt.Errorf("--tty=%s is not one of auto, always, never", mode)
}

func absolute(cwd, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(cwd, path)
}
