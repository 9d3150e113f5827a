package profiles

import (
	"net/netip"
	"strings"
	"testing"
)

const optionalProfile = `
network {
  allow "*.example" {}
  allow "a.example" {
    secret = secret.a
    request "POST" "/a" {}
  }
  allow "both.example" {
    secret = [secret.a, secret.b]
    request "POST" "/both" {}
  }
  allow "shared.example" {
    secret = secret.a
    request "POST" "/write" {}
  }
  allow "shared.example" {
    request "GET" "/read" {}
  }
  allow "opened.example" {
    secret = secret.a
    request "POST" "/write" {}
  }
  allow "opened.example" {}
  allow "any.example" { secret = secret.a }
}
secret "a" {
  env      = "A_KEY"
  header   = "x-a"
  optional = true
}
secret "b" {
  file     = "/keys/b"
  header   = "x-b"
  optional = true
}
`

// TestWithout: a rule without its secret lets nothing, and opens nothing of its host to
// any other rule either.
func TestWithout(t *testing.T) {
	type verdicts map[string]bool
	for name, tt := range map[string]struct {
		missing []string
		want    verdicts
	}{
		"all there": {nil, verdicts{"POST https://a.example/a": true, "GET https://a.example/": false, "POST https://both.example/both": true,
			"POST https://shared.example/write": true, "GET https://shared.example/read": true, "POST https://opened.example/write": true,
			"POST https://opened.example/other": false, "GET https://any.example/": true, "GET https://else.example/": true}},
		"a is missing": {[]string{"a"}, verdicts{"POST https://a.example/a": false, "GET https://a.example/": false, "POST https://both.example/both": true,
			"POST https://shared.example/write": false, "GET https://shared.example/read": true, "POST https://opened.example/write": false,
			"POST https://opened.example/other": false, "GET https://any.example/": false, "GET https://else.example/": true}},
		"both are missing": {[]string{"a", "b"}, verdicts{"POST https://both.example/both": false, "GET https://both.example/": false}},
	} {
		t.Run(name, func(t *testing.T) {
			s := spec(t, optionalProfile)
			s.Without(tt.missing)
			for q, want := range tt.want {
				method, url, _ := strings.Cut(q, " ")
				if got := s.Try(Case{Name: "x", Request: []string{method, url}}); (got.Action == Allow) != want {
					t.Errorf("%s: %s (%s)", q, got.Action, got.Reason)
				}
			}
		})
	}

	s := spec(t, optionalProfile)
	s.Without([]string{"a"})
	if v := s.Network.Connect("a.example", netip.Addr{}, 443); v.Action != Deny || v.Rule == nil || v.Rule.Label != "a.example" || !strings.Contains(v.Reason, "the variable A_KEY is not set") {
		t.Errorf("a connection to a.example: %s %q", v.Action, v.Reason)
	}
	if v := s.Network.Resolve("a.example"); v.Action != Deny {
		t.Errorf("a.example resolves: %s", v.Reason)
	}
	if names := s.Network.Access("both.example", netip.Addr{}, 443).Secrets(); len(names) != 1 || names[0] != "b" {
		t.Errorf("both.example may get %q", names)
	}
	// The host stays one that is looked into.
	if !s.Network.Access("opened.example", netip.Addr{}, 443).Plaintext() {
		t.Error("opened.example is no longer looked into")
	}
}

// TestOptionalIsNotWider: a secret that may be missing lets less, never more.
func TestOptionalIsNotWider(t *testing.T) {
	a, b := spec(t, strings.ReplaceAll(optionalProfile, "optional = true", "")), spec(t, optionalProfile)
	if d := Diff(a, b); len(d) != 0 {
		t.Errorf("%v", d)
	}
}
