package profiles

import (
	"path"
	"strings"
	"testing"
)

// spec loads a profile that stands on nothing else.
func spec(t testing.TB, src string) *Spec {
	t.Helper()
	s, diags, _ := Load("/p/test.hcl", mapOptions(map[string]string{"/p/test.hcl": "extends = []\n" + src}))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return s
}

func TestFilesDecide(t *testing.T) {
	f := &spec(t, `
files {
  read  = ["/opt/toolchain", "~/notes/*.txt", "/srv/**/public", "/data/[ab]", "/etc/python3*"]
  write = ["/var/tmp/build/"]
  exec  = ["/usr", "/opt/toolchain/bin"]
  deny  = ["~/.ssh", "/opt/toolchain/secret*", "/usr/lib/private", "/srv/**/*.key", "/data/a/{x,y}"]
}`).Files
	for _, c := range []struct {
		path string
		op   Op
		want Action
		rule string
	}{
		{"/opt/toolchain", OpRead, Allow, "/opt/toolchain"},
		{"/opt/toolchain/lib/x", OpRead, Allow, "/opt/toolchain"},
		{"/opt/toolchain/.hidden", OpRead, Allow, "/opt/toolchain"},
		{"/opt/toolchain/bytes\xff", OpRead, Allow, "/opt/toolchain"},
		{"/opt/toolchain2", OpRead, Deny, ""},
		{"/opt", OpRead, Deny, ""},
		{"/opt/toolchain/lib/x", OpWrite, Deny, ""},
		{"/opt/toolchain/lib/x", OpExec, Deny, ""},
		{"/opt/toolchain/bin/cc", OpExec, Allow, "/opt/toolchain/bin"},
		{"/opt/toolchain/secret", OpRead, Deny, "/opt/toolchain/secret*"},
		{"/opt/toolchain/secrets/a/b", OpRead, Deny, "/opt/toolchain/secret*"},
		{"/home/u/notes/a.txt", OpRead, Allow, "/home/u/notes/*.txt"},
		{"/home/u/notes/a.md", OpRead, Deny, ""},
		{"/home/u/notes/sub/a.txt", OpRead, Deny, ""},
		{"/home/u/.ssh/id_ed25519", OpRead, Deny, "/home/u/.ssh"},
		{"/srv/a/b/public/x", OpRead, Allow, "/srv/**/public"},
		{"/srv/public", OpRead, Allow, "/srv/**/public"},
		{"/srv/a/b/public/x.key", OpRead, Deny, "/srv/**/*.key"},
		{"/data/b/x", OpRead, Allow, "/data/[ab]"},
		{"/data/a/x/1", OpRead, Deny, "/data/a/{x,y}"},
		{"/data/c", OpRead, Deny, ""},
		{"/etc/python3.11/sitecustomize.py", OpRead, Allow, "/etc/python3*"},
		{"/var/tmp/build/o", OpWrite, Allow, "/var/tmp/build"},
		{"/var/tmp/build/o", OpRead, Allow, "/var/tmp/build"},
		{"/var/tmp/build/o", OpExec, Deny, ""},
		{"/usr/bin/env", OpExec, Allow, "/usr"},
		{"/usr/bin/env", OpRead, Allow, "/usr"},
		{"/usr/bin/env", OpWrite, Deny, ""},
		{"/usr/lib/private/x", OpExec, Deny, "/usr/lib/private"},

		// No absolute, clean path, or no operation that is known.
		{"usr/bin/env", OpRead, Deny, ""},
		{"/usr/../etc/shadow", OpRead, Deny, ""},
		{"/usr/./bin", OpRead, Deny, ""},
		{"/usr//bin", OpRead, Deny, ""},
		{"/usr/", OpRead, Deny, ""},
		{"/usr/bin\x00", OpRead, Deny, ""},
		{"", OpRead, Deny, ""},
		{"/usr/bin/env", "chmod", Deny, ""},
	} {
		v := f.Decide(c.path, c.op)
		if v.Action != c.want || v.Rule.Pattern != c.rule {
			t.Errorf("Decide(%q, %s) = %s by %q", c.path, c.op, v.Action, v.Rule.Pattern)
		}
		if (v.Reason == "") != (v.Action == Allow) {
			t.Errorf("Decide(%q, %s) = %s with the reason %q", c.path, c.op, v.Action, v.Reason)
		}
		if v.Rule.Pattern != "" && v.Rule.Origin.File != "test.hcl" {
			t.Errorf("Decide(%q, %s): the rule comes from %q", c.path, c.op, v.Rule.Origin)
		}
	}
	if v := new(Files).Decide("/usr/bin/env", OpRead); v.Action != Deny {
		t.Error("no rule at all allows /usr/bin/env")
	}
	if v := (&Files{Read: []Pattern{{Pattern: "/"}}}).Decide("/a/b", OpRead); v.Action != Allow {
		t.Error("the rule \"/\" does not cover /a/b")
	}
}

// TestHomeIsLiteral: a home folder whose name looks like a glob covers itself only.
func TestHomeIsLiteral(t *testing.T) {
	o := mapOptions(map[string]string{"/p/x.hcl": `extends = []
files { read = ["~/data"] }`})
	o.Home = "/home/a*[b]{c,d}?"
	s, diags, _ := Load("/p/x.hcl", o)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if v := s.Files.Decide(o.Home+"/data/x", OpRead); v.Action != Allow {
		t.Errorf("the home's own folder is denied by %q", s.Files.Read)
	}
	for _, p := range []string{"/home/aXbc?/data", "/home/ab/data", "/home/aXb/data"} {
		if v := s.Files.Decide(p, OpRead); v.Action != Deny {
			t.Errorf("%s is allowed by %q", p, v.Rule.Pattern)
		}
	}
}

func TestWorkspacePatterns(t *testing.T) {
	s := spec(t, `
workspace { hide = [".env", "secrets/**", "**/*.pem", "./local"] }
artifacts { collect = ["dist/**", "*.log"] }`)
	for _, c := range []struct {
		rel           string
		hidden, taken bool
	}{
		{".env", true, false},
		{"sub/.env", false, false},
		{".env/x", true, false},
		{"secrets", true, false},
		{"secrets/a/b", true, false},
		{"a.pem", true, false},
		{"a/b/c.pem", true, false},
		{"local/x", true, false},
		{"dist/app.js", false, true},
		{"dist", false, true},
		{"build.log", false, true},
		{"sub/build.log", false, false},
		{"./dist/app.js", false, false},
		{"/dist/app.js", false, false},
		{"../dist/app.js", false, false},
		{"", false, false},
	} {
		if _, got := s.Workspace.Hides(c.rel); got != c.hidden {
			t.Errorf("%q is hidden: %v", c.rel, got)
		}
		if _, got := s.Artifacts.Collects(c.rel); got != c.taken {
			t.Errorf("%q is collected: %v", c.rel, got)
		}
	}
}

func TestPasses(t *testing.T) {
	p := &spec(t, `process { pass_env = ["LANG", "LC_*"] }`).Process
	for name, want := range map[string]bool{
		"LANG": true, "LC_ALL": true, "LC_": true, "LC_*": true,
		"LANGUAGE": false, "lang": false, "LC": false, "": false, "AWS_SECRET_ACCESS_KEY": false,
	} {
		if _, got := p.Passes(name); got != want {
			t.Errorf("%q is passed: %v", name, got)
		}
	}
	if _, got := (&Process{PassEnv: []Pattern{{Pattern: "*"}}}).Passes("SECRET"); got {
		t.Error("a lone star passes everything")
	}
}

// FuzzPattern: a deny holds on its own path and on everything below, whatever the
// pattern, and no path beside a clean absolute one is ever allowed.
func FuzzPattern(f *testing.F) {
	f.Add("/a/b", "/a/b/c")
	f.Add("~/.ssh", "/home/u/.ssh/x")
	f.Add("/{a,b}/[c-d]?", "/a/c1")
	f.Fuzz(func(t *testing.T, pattern, p string) {
		abs, err := absolutePattern(pattern, "/home/u")
		if err != nil {
			return
		}
		if !strings.HasPrefix(abs, "/") {
			t.Fatalf("%q becomes %q", pattern, abs)
		}
		if again, err := absolutePattern(abs, ""); err != nil || again != abs {
			t.Fatalf("%q becomes %q and then %q, %v", pattern, abs, again, err)
		}
		open := []Pattern{{Pattern: "/"}}
		// The path itself, quoted, is a pattern of that path.
		if quoted, err := absolutePattern(quotePattern(p), ""); err == nil && path.Clean(p) == p {
			for _, target := range []string{p, path.Join(p, "below/x")} {
				if v := (&Files{Read: open, Deny: []Pattern{{Pattern: quoted}}}).Decide(target, OpRead); v.Action != Deny {
					t.Fatalf("the pattern %q of %q does not deny %q", quoted, p, target)
				}
			}
		}
		rules := &Files{Read: open, Deny: []Pattern{{Pattern: abs}}}
		if v := rules.Decide(p, OpRead); v.Action == Deny && v.Rule.Pattern != "" && p != "/" {
			if below := rules.Decide(p+"/below", OpRead); below.Action != Deny {
				t.Fatalf("%q denies %q and not what is below", abs, p)
			}
		}
	})
}
