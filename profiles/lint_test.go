package profiles

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestLint holds each warning's line and summary; a profile that is as it should be has
// none.
func TestLint(t *testing.T) {
	for _, tt := range []struct {
		src  string
		want []string
	}{
		{`network {
  allow "*.example.com" {}
  allow "a.example.net" {}
  ask "b.example.net" {}
  deny "x.example.com" {}
  allow "x.example.org:8443" {}
  deny "x.example.org:443" {}
}
files {
  read  = ["/opt"]
  write = ["~/.npm", "/var/tmp/x"]
  deny  = ["/opt/secret"]
}`, nil},
		{`network {
  allow "x.example.com" {}
  allow "*.y.example.com" {}
  allow "z.example.com" { ports = [443, 8443] }
  allow "10.1.0.0/16" {}
  allow "q.example.net" {}
  ask "*.example.net" {}
  ask "gone.example.org" {}
  deny "*.example.com" { ports = [443] }
  deny "10.0.0.0/8" {}
  deny "*.example.org" {}
}`, []string{"2 Rule can never match", "3 Rule can never match", "5 Rule can never match", "6 Rule can never match", "8 Rule can never match"}},
		{`network {
  allow "a.example" {}
  allow "a.example" {
    request "GET" "/**" {}
  }
}`, []string{"2 Rule can never match"}},
		{`files {
  read = ["/srv/x/y", "/srv/z"]
  deny = ["/srv/x"]
  home ".x" { from = "/srv/x/y" }
}`, []string{"2 Rule can never match", "4 Rule can never match"}},
		{`network {
  allow "*" {}
  allow "*.com" {}
  allow "*.co.uk" {}
  allow "*.github.io" {}
  allow "*.me.github.io" {}
}`, []string{"2 Wildcard over every name", "3 Wildcard over a public suffix", "4 Wildcard over a public suffix", "5 Wildcard over a public suffix"}},
		{`secret "k" {
  env    = "K"
  header = "x"
}
network {
  allow "*.example.com" { secret = secret.k }
}`, []string{"6 Secret goes to a wildcard host"}},
		{`files {
  write = [
    "~/.bashrc",
    "/usr/local",
    "~/.local/bin/x",
    "/var/lib/x",
    "~/.config",
  ]
  deny = ["~/.config/systemd", "~/.config/fish"]
}`, []string{"3 Writable path that the host executes", "4 Writable path that the host executes", "5 Writable path that the host executes", "7 Writable path that the host executes"}},
		{`files {
  write = ["~/.config/x"]
}`, nil},
		{`network {
  allow "api.anthropic.com" {}
  allow "api.openai.com" { provider = "openai" }
  allow "api.github.com" {}
  allow "gemini" { like = "gemini" }
}
budget "tokens" { per_run = 5 }`, []string{"2 Uncounted calls of models"}},
		{`network {
  allow "api.anthropic.com" {}
}`, nil},
	} {
		_, diags, _ := Load("/p/x.hcl", mapOptions(map[string]string{"/p/x.hcl": tt.src}))
		var got []string
		for _, d := range diags {
			got = append(got, fmt.Sprintf("%d %s", d.Subject.Start.Line, d.Summary))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s\n got %q\nwant %q", tt.src, got, tt.want)
		}
	}
	for _, name := range Builtins() {
		if _, diags, _ := Load(name, mapOptions(nil)); len(diags) > 0 {
			t.Errorf("%s has warnings: %v", name, diags)
		}
	}
}

// TestLintData: the lists are hosts in their one spelling and paths that can be written.
func TestLintData(t *testing.T) {
	for _, name := range slices.Concat(registries(), userContent()) {
		if canonical, _, err := CanonicalHost(name); err != nil || canonical != name || !strings.Contains(name, ".") {
			t.Errorf("%s is %q, %v", name, canonical, err)
		}
	}
	for _, e := range executedPaths() {
		if _, err := absolutePattern(e.path, "/home/u"); err != nil || e.what == "" {
			t.Errorf("%s: %v", e.path, err)
		}
	}
}
