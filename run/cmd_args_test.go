package run

import (
	"slices"
	"strings"
	"testing"
)

func TestFlagsFirst(t *testing.T) {
	cmds := newApp(Host{}).Commands
	for _, c := range []struct{ in, want string }{
		{"agentjail", "agentjail"},
		{"agentjail logs last -f", "agentjail logs -f last"},
		{"agentjail logs last --denied --json", "agentjail logs --denied --json last"},
		{"agentjail runs -n 3", "agentjail runs -n 3"},
		{"agentjail profile show x.hcl --var a=b --json", "agentjail profile show --var a=b --json x.hcl"},
		{"agentjail profile show x.hcl --var=a=b", "agentjail profile show --var=a=b x.hcl"},
		{"agentjail profile check a.hcl --strict b.hcl", "agentjail profile check --strict a.hcl b.hcl"},
		{"agentjail profile fmt -", "agentjail profile fmt -"},
		{"agentjail logs -- -f", "agentjail logs -- -f"},
		{"agentjail logs last --unknown", "agentjail logs --unknown last"},
		// The agent's own.
		{"agentjail run claude -p x --help", "agentjail run claude -p x --help"},
		{"agentjail run -- logs -f", "agentjail run -- logs -f"},
		{"agentjail run -p x -- git log -n 1", "agentjail run -p x -- git log -n 1"},
		{"agentjail --version", "agentjail --version"},
		{"agentjail lgos x -f", "agentjail lgos x -f"},
	} {
		got := flagsFirst(cmds, strings.Fields(c.in))
		if !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%s: got %q", c.in, got)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"run", "runs", "logs", "profile", "verify", "p"}
	for name, want := range map[string]string{
		"rum": "run", "profil": "profile", "porfile": "profile", "lgos": "", "log": "logs",
		"verfiy": "verify", "claude": "", "": "", "ls": "",
	} {
		if got := nearest(name, words); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

// Every command explains itself, and a command that only holds others says which.
func TestCommandsHaveUsage(t *testing.T) {
	for _, c := range newApp(Host{}).Commands {
		if c.Usage == "" || c.Action == nil {
			t.Errorf("%s has no usage or does nothing", c.Name)
		}
		for _, s := range c.Subcommands {
			if s.Usage == "" || s.Action == nil {
				t.Errorf("%s %s has no usage or does nothing", c.Name, s.Name)
			}
		}
	}
}
