package run

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/run/approval"
)

func TestAddRule(t *testing.T) {
	host := approval.Always{Host: "pypi.example", Port: 443, Proto: "tls"}
	git := approval.Always{Program: "/usr/bin/git", Args: []string{"push", "${x}%{if}\n\"\\"}}
	for name, c := range map[string]struct {
		src, keeps string
		rule       approval.Always
	}{
		"empty":     {"", "", host},
		"no end":    {"# mine", "# mine\n\nnetwork {\n", host},
		"a block":   {"network {\n    ask   \"*\"  {}   # odd layout\n}\n# after\n", "    ask   \"*\"  {}   # odd layout\n  # note\n", host},
		"one line":  {"process { exec_new = \"ask\" }\n", "process {\n  exec_new = \"ask\"\n", git},
		"empty one": {"network {}\n", "network {\n  # note\n", host},
		"other":     {"network {\n}\n", "network {\n}\n\nprocess {\n", git},
	} {
		out, err := addRule([]byte(c.src), "x.hcl", "# note\n", c.rule)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !strings.Contains(string(out), c.keeps) || strings.Count(string(out), "# note\n") != 1 {
			t.Errorf("%s:\n%s", name, out)
		}
		path := filepath.Join(t.TempDir(), "x.hcl")
		if err := os.WriteFile(path, out, 0o600); err != nil {
			t.Fatal(err)
		}
		h := Host{Home: "/home/x", Cwd: filepath.Dir(path)}
		spec, diags, _ := profiles.Load(path, h.profileOptions(Dirs{}, nil))
		if diags.HasErrors() {
			t.Errorf("%s: %v\n%s", name, diags, out)
			continue
		}
		if a := spec.Process.Approved; c.rule.Program != "" && (len(a) != 1 || a[0].Program != c.rule.Program || strings.Join(a[0].Args, "|") != strings.Join(c.rule.Args, "|")) {
			t.Errorf("%s: %+v", name, a)
		}
		if a := spec.Network.Allow; c.rule.Host != "" && (len(a) != 1 || !a[0].Approved || a[0].Ports[0] != 443 || a[0].Hosts[0].Name != "pypi.example") {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if _, err := addRule([]byte("network {"), "x.hcl", "", host); err == nil {
		t.Error("a file that can't be read was written to")
	}
}
