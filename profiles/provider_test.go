package profiles

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPrices(t *testing.T) {
	table := Prices()
	if table.Date == "" || len(table.Sources) == 0 || len(table.Prices) < 40 {
		t.Fatalf("the table: %s, %d sources, %d prices", table.Date, len(table.Sources), len(table.Prices))
	}
	seen := map[string]map[int64]bool{}
	for _, p := range table.Prices {
		if seen[p.Model] == nil {
			seen[p.Model] = map[int64]bool{}
		}
		if seen[p.Model][p.Above] {
			t.Errorf("%s above %d is there twice", p.Model, p.Above)
		}
		seen[p.Model][p.Above] = true
		// What holds for every price that any provider has published.
		if p.Input <= 0 || p.CacheRead > p.Input || p.CacheWrite < p.Input || p.CacheWriteLong < p.CacheWrite || strings.Contains(p.Model, "*") {
			t.Errorf("%+v", p)
		}
	}
	for model, tiers := range seen {
		if !tiers[0] {
			t.Errorf("%s has no price for short requests", model)
		}
	}
}

func TestFindPrice(t *testing.T) {
	own := []Price{
		{Model: "claude-*", Input: 1 * One},
		{Model: "claude-sonnet-*", Input: 2 * One},
		{Model: "claude-sonnet-*", Above: 1000, Input: 3 * One},
		{Model: "*-local", Input: 0 * One},
		{Model: "a*b*c", Input: 7 * One},
	}
	for _, c := range []struct {
		own    []Price
		model  string
		prompt int64
		want   string // input price; "" for none
	}{
		{nil, "claude-sonnet-4-5", 100, "3"},
		{nil, "claude-sonnet-4-5-20250929", 100, "3"},
		{nil, "claude-sonnet-4-5@20250929", 200_000, "3"},
		{nil, "claude-sonnet-4-5-20250929", 200_001, "6"},
		{nil, "claude-3-5-haiku-latest", 1, "0.8"},
		{nil, "gpt-4o-2024-08-06", 1, "2.5"},
		{nil, "gpt-4o-2024-05-13", 1, "5"}, // has a price of its own
		{nil, "models/gemini-2.5-pro", 300_000, "2.5"},
		{nil, "gpt-5-mini", 1, "0.25"},
		{nil, "gpt-5-maxi", 1, ""}, // no pattern of the table is wider than a date
		{nil, "gpt-5-mini-2", 1, ""},
		{nil, "", 1, ""},
		{own, "claude-opus-9", 1, "1"},
		{own, "claude-sonnet-4-5", 1000, "2"},
		{own, "claude-sonnet-4-5", 1001, "3"},
		{own, "llama-local", 1, "0"},
		{own, "gpt-5-mini", 1, "0.25"},
		{own, "abc", 1, "7"},
		{own, "a-b-b-c", 1, "7"},
		{own, "ac", 1, ""},
		{own, "ab", 1, ""},
	} {
		p := FindPrice(c.own, c.model, c.prompt)
		got := ""
		if p != nil {
			got = p.Input.String()
		}
		if got != c.want {
			t.Errorf("%s of %d tokens: %q, want %q", c.model, c.prompt, got, c.want)
		}
	}
}

func TestCost(t *testing.T) {
	p := FindPrice(nil, "claude-sonnet-4-5", 1)
	for want, used := range map[string]UsedTokens{
		"0":        {},
		"0.000003": {Input: 1},
		"0.000001": {CacheRead: 1}, // a third of a millionth, rounded up
		"18":       {Input: 1_000_000, Output: 1_000_000},
		"9.75":     {CacheWrite: 2_000_000, CacheWriteLong: 1_000_000},                            // 3.75 and 6
		"0.00393":  {Input: 25, Output: 89, CacheRead: 2000, CacheWrite: 500, CacheWriteLong: 20}, // 75 + 1335 + 600 + 1800 + 120 millionths
	} {
		if got := p.Cost(used).String(); got != want {
			t.Errorf("%+v costs %s, want %s", used, got, want)
		}
	}
	dear := Price{Input: MaxAmount, Output: MaxAmount}
	if got := dear.Cost(UsedTokens{Input: 1 << 60, Output: 1 << 60}); got != MaxAmount {
		t.Errorf("the dearest call costs %s", got)
	}
	if got := dear.Cost(UsedTokens{Input: -5}); got != 0 {
		t.Errorf("a negative count costs %s", got)
	}
}

// keys have the shape of real credentials and are none.
func keys() map[string]string {
	letters := strings.Repeat("aB3dE6gH9k", 10)
	hex := strings.Repeat("0a1b2c3d4e", 10)
	return map[string]string{
		"anthropic": "sk-ant-api03-" + letters[:95], "anthropic-oauth": "sk-ant-oat01-" + letters[:95],
		"openai": "sk-proj-" + letters, "gemini": "AIza" + letters[:35], "azure-openai": hex[:32],
		"openrouter": "sk-or-v1-" + hex[:64], "mistral": letters[:32], "deepseek": "sk-" + hex[:32], "groq": "gsk_" + letters[:52],
		"xai": "xai-" + letters[:80], "together": "tgp_v1_" + letters[:43], "fireworks": "fw_" + letters[:24],
		"cerebras": "csk-" + hex[:48], "perplexity": "pplx-" + letters[:48], "moonshot": "sk-" + letters[:48],
		"huggingface": "hf_" + letters[:34], "replicate": "r8_" + letters[:37],
		"github": "ghp_" + letters[:36], "github-git": "github_pat_" + letters[:22], "gitlab": "glpat-" + letters[:20], "gitlab-git": "glpat-" + letters[:20],
		"bitbucket": "ATCTT3xFfGN0" + letters[:40], "bitbucket-git": "ATBB" + letters[:32], "codeberg": hex[:40],
		"linear": "lin_api_" + letters[:40], "stripe": "sk_test_" + letters[:24], "slack": "xoxb-" + "12345678901-" + letters[:24],
		"npm": "npm_" + letters[:36], "pypi": "pypi-AgE" + letters[:60],
	}
}

func TestReadyList(t *testing.T) {
	examples := keys()
	var seen []string
	for _, r := range ReadyList() {
		t.Run(r.Name, func(t *testing.T) {
			if slices.Contains(seen, r.Name) {
				t.Error("it is there twice")
			}
			seen = append(seen, r.Name)
			if _, err := regexp.Compile(`^(?:` + r.Shape + `)$`); err != nil || r.Shape == "" || r.Title == "" || r.Kind == "" {
				t.Errorf("%+v: %v", r, err)
			}
			key := examples[r.Name]
			if key == "" || !r.Fits([]byte(key)) {
				t.Errorf("the example %q does not fit", key)
			}
			if r.Fits([]byte("x"+key)) || r.Fits([]byte(key+" ")) || r.Fits([]byte("hunter2hunter2")) || r.Fits(nil) {
				t.Error("anything fits")
			}
			if len(r.Prefixes) > 0 && !slices.ContainsFunc(r.Prefixes, func(p string) bool { return strings.HasPrefix(key, p) }) {
				t.Errorf("the example %q has none of the prefixes %q", key, r.Prefixes)
			}
			// What the list says is what the language takes, and is as short as it can be.
			host := ""
			if len(r.Hosts) == 0 {
				host = "hosts = [\"own.example.com\"]\n"
			}
			spec, diags, _ := Load("/p.hcl", mapOptions(map[string]string{"/p.hcl": `
network {
  allow "` + r.Name + `" {
    like   = "` + r.Name + `"
    secret = secret.key
    ` + host + `
  }
}
secret "key" { like = "` + r.Name + `" }`}))
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			want := Secret{Name: "key", Like: r.Name, Env: r.Variables[0], Variable: r.Variables[0], Header: r.Header, Format: r.Format, Query: r.Query, Basic: r.Basic, Origin: spec.Secrets[0].Origin}
			if diff := cmp.Diff(want, spec.Secrets[0]); diff != "" {
				t.Error(diff)
			}
			var hosts []string
			for _, rule := range spec.Network.Allow {
				if rule.Provider != r.Provider || !slices.Equal(rule.Secrets, []string{"key"}) {
					t.Errorf("the rule: %+v", rule)
				}
				for _, h := range rule.Hosts {
					hosts = append(hosts, h.String())
				}
			}
			if host == "" && !slices.Equal(hosts, r.Hosts) {
				t.Errorf("hosts %q, want %q", hosts, r.Hosts)
			}
		})
	}
	if len(seen) != len(examples) {
		t.Errorf("%d services, %d examples", len(seen), len(examples))
	}
}

// What is written out wins over what the ready list says.
func TestLikeIsNoMoreThanADefault(t *testing.T) {
	_, diags, _ := Load("/p.hcl", mapOptions(map[string]string{"/p.hcl": `
secret "b" {
  like     = "github-git"
  env      = "CI_TOKEN"
  variable = ""
}`}))
	if !diags.HasErrors() || !strings.Contains(diags.Error(), "no name of an environment variable") {
		t.Fatalf("an empty variable: %v", diags)
	}
	spec, diags, _ := Load("/p.hcl", mapOptions(map[string]string{"/p.hcl": `
network {
  allow "llm.corp.example" {
    like     = "openai"
    provider = "openai-compatible"
  }
}
secret "a" {
  like    = "openai"
  command = ["pass", "openai"]
  header  = "api-key"
}
secret "b" {
  like = "github-git"
  env  = "CI_TOKEN"
}`}))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	r := spec.Network.Allow[0]
	if r.Hosts[0].String() != "llm.corp.example" || r.Provider != ProviderCompatible {
		t.Errorf("%+v", r)
	}
	if a := spec.Network.Access("llm.corp.example", netip.Addr{}, 443); a.Provider() != ProviderCompatible || !a.Plaintext() {
		t.Error("the host is not looked into")
	}
	a, b := spec.Secrets[0], spec.Secrets[1]
	if a.Env != "" || a.Variable != "OPENAI_API_KEY" || a.Header != "api-key" || a.Format != "" {
		t.Errorf("%+v", a)
	}
	if b.Env != "CI_TOKEN" || b.Variable != "CI_TOKEN" || b.Basic != "x-access-token" {
		t.Errorf("%+v", b)
	}
}

func TestCheckShape(t *testing.T) {
	s := Secret{Name: "key", Like: "anthropic"}
	if text := s.CheckShape([]byte(keys()["anthropic"])); text != "" {
		t.Errorf("a fitting value: %s", text)
	}
	value := "sk-proj-" + strings.Repeat("QwErTy12", 5)
	text := s.CheckShape([]byte(value))
	if !strings.Contains(text, "Anthropic") {
		t.Errorf("no warning: %q", text)
	}
	for i := 0; i+4 <= len(value); i++ {
		if strings.Contains(text, value[i:i+4]) {
			t.Errorf("the warning has %q of the value in it: %s", value[i:i+4], text)
		}
	}
	s.Like = ""
	if text := s.CheckShape([]byte("anything")); text != "" {
		t.Errorf("a secret that is like nothing: %s", text)
	}
}

func TestPriceBlocks(t *testing.T) {
	spec, diags, _ := Load("/p.hcl", mapOptions(map[string]string{
		"/parent.hcl": `price "m-*" {
  input  = 9
  output = 9
}
price "n" {
  input  = 1.25
  output = 2
}`,
		"/p.hcl": `extends = ["./parent.hcl"]
price "m-*" {
  input       = 3
  output      = 15
  cache_read  = 0.3
  cache_write = 3.75
}
price "m-*" {
  input  = 6
  output = 22.5
  above  = 200000
}`}))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	want := []string{"m-* 0: 3 15 0.3 3.75 6", "m-* 200000: 6 22.5 6 6 12", "n 0: 1.25 2 1.25 1.25 2.5"}
	var got []string
	for _, p := range spec.Prices {
		got = append(got, strings.Join([]string{p.Model, ""}, " ")+Amount(p.Above*int64(One)).String()+": "+strings.Join([]string{p.Input.String(), p.Output.String(), p.CacheRead.String(), p.CacheWrite.String(), p.CacheWriteLong.String()}, " "))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
