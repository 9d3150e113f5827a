package profiles

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/zclconf/go-cty/cty"
)

func TestExtends(t *testing.T) {
	t.Run("the child's value wins and the parent's deny holds", func(t *testing.T) {
		s := mustLoad(t, "/p/child.hcl", mapOptions(map[string]string{
			"/p/child.hcl": `extends = ["./a.hcl", "./b.hcl"]
network {
  allow "x.example" { protocol = "tcp" }
}
process { terminal = "pass" }
limits { time = "1h" }`,
			"/p/a.hcl": `process { terminal = "filter" }
network {
  allow "x.example" {}
  deny "bad.example" {}
}
limits { idle = "1m" }`,
			"/p/b.hcl": `network {
  allow "bad.example" {}
}
limits {
  idle = "2m"
  time = "2h"
}`,
		}))
		if v := s.Network.Connect("bad.example", netip.Addr{}, 443); v.Action != Deny || v.Rule.Origin != at("a.hcl", 4) {
			t.Errorf("bad.example is %v", v)
		}
		if v := s.Network.Connect("x.example", netip.Addr{}, 443); v.Action != Allow || v.Rule.Protocol != ProtocolTCP {
			t.Errorf("x.example is %v", v)
		}
		if s.Process.Terminal != TerminalPass || mustLoad(t, "base", mapOptions(nil)).Process.Terminal != TerminalFilter {
			t.Errorf("terminal is %q", s.Process.Terminal)
		}
		if s.Limits.Time.Origin != at("child.hcl", 6) || s.Limits.Idle.Origin != at("b.hcl", 5) {
			t.Errorf("time is from %s, idle from %s", s.Limits.Time.Origin, s.Limits.Idle.Origin)
		}
	})
	t.Run("nothing said is base, an empty list is nothing", func(t *testing.T) {
		empty := mustLoad(t, "/p/x.hcl", mapOptions(map[string]string{"/p/x.hcl": ""}))
		base := mustLoad(t, "base", mapOptions(nil))
		if diff := cmp.Diff(base, empty, specsEqual, cmpopts.IgnoreFields(Spec{}, "Name", "Description", "Sources")); diff != "" {
			t.Errorf("an empty profile is not base: -base +empty:\n%s", diff)
		}
		bare := mustLoad(t, "/p/x.hcl", mapOptions(map[string]string{"/p/x.hcl": "extends = []"}))
		if len(bare.Sources) != 1 || len(bare.Files.Exec)+len(bare.Files.Read)+len(bare.Process.PassEnv) != 0 {
			t.Errorf("a profile that extends nothing is %+v", bare)
		}
	})
	t.Run("a variable belongs to its file", func(t *testing.T) {
		o := mapOptions(map[string]string{
			"/p/child.hcl":  "extends = [\"./parent.hcl\"]\nvariable \"h\" { default = \"harmless.example\" }",
			"/p/parent.hcl": "extends = []\nvariable \"h\" { default = \"bad.example\" }\nnetwork {\n  deny \"x\" { hosts = [var.h] }\n}",
		})
		s := mustLoad(t, "/p/child.hcl", o)
		if got := s.Network.Deny[0].Hosts; !slices.Equal(got, exact("bad.example")) {
			t.Errorf("the parent's deny is about %v", got)
		}
	})
	t.Run("values from outside", func(t *testing.T) {
		o := mapOptions(map[string]string{"/p/x.hcl": "variable \"n\" { default = 1 }\nvariable \"s\" {}\nlimits { processes = var.n }\nnetwork {\n  allow \"h\" { hosts = [var.s] }\n}"})
		o.Vars = map[string]string{"n": "7", "s": "a.example"}
		s := mustLoad(t, "/p/x.hcl", o)
		if s.Limits.Processes.Value != 7 || s.Network.Allow[0].Hosts[0].Name != "a.example" {
			t.Errorf("%+v", s)
		}
		for _, vars := range []map[string]string{{"n": "seven", "s": "a"}, {"n": "7"}, {"s": "a", "other": "x"}, {"s": "e\u0301.example"}} {
			o.Vars = vars
			if _, diags, _ := Load("/p/x.hcl", o); len(diags) != 1 {
				t.Errorf("%v gives %v", vars, diags)
			}
		}
	})
	t.Run("depth", func(t *testing.T) {
		o := mapOptions(nil)
		o.ReadFile = func(string) ([]byte, error) { return []byte(`extends = ["./d/x.hcl"]`), nil }
		if _, diags, _ := Load("/x.hcl", o); len(diags) != 1 || diags[0].Summary != "Profiles extend too deeply" {
			t.Errorf("an endless chain gives %v", diags)
		}
	})
	t.Run("built-in reads no file", func(t *testing.T) {
		f := &file{name: "b.hcl", builtin: true, path: builtinPath}
		o := mapOptions(map[string]string{"/ws/x": "x", "x": "x"})
		if _, err := stringCall(t, f, &o, "file", "x"); err == nil {
			t.Error("a built-in profile reads a file")
		}
	})
	t.Run("text that would change", func(t *testing.T) {
		o := mapOptions(map[string]string{"/p/x": "e\u0301", "/p/y": "\xff"})
		o.Env = func(string) (string, bool) { return "e\u0301", true }
		f := &file{name: "x.hcl", path: "/p/x.hcl"}
		for _, call := range [][2]string{{"file", "x"}, {"file", "y"}, {"env", "X"}} {
			if _, err := stringCall(t, f, &o, call[0], call[1]); err == nil {
				t.Errorf("%s(%q) gives text that HCL changes", call[0], call[1])
			}
		}
	})
	t.Run("no home, no folder", func(t *testing.T) {
		o := mapOptions(nil)
		o.Home = ""
		if _, diags, _ := Load("base", o); !diags.HasErrors() {
			t.Error("\"~\" means something without a home")
		}
		o = mapOptions(map[string]string{"/p/x.hcl": "extends = []"})
		o.Cwd = ""
		if _, diags, _ := Load("/p/x.hcl", o); !diags.HasErrors() {
			t.Error("there is a workspace without a folder")
		}
	})
}

func stringCall(t *testing.T, f *file, o *Options, name, arg string) (string, error) {
	t.Helper()
	v, err := functions(f, o)[name].Call([]cty.Value{cty.StringVal(arg)})
	if err != nil {
		return "", err
	}
	return v.AsString(), nil
}
