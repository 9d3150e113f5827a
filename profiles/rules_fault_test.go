package profiles

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const faultProfile = `# f.hcl
network {
  allow "docs.example" {
    sanitize = "html"
    fault "status" {
      rate   = 1/3
      seed   = 7
      status = 503
      body   = "{\"error\": \"$${overloaded}\"}\n"
    }
    fault "delay" {
      rate  = 0.5
      delay = "90s"
    }
    request "GET" "/a" {}
  }
  allow "docs.example" {
    fault "truncate" {
      rate  = 1
      after = "0"
    }
    request "GET" "/b" {}
  }
  allow "mixed.example" {
    ports = [80, 443]
    fault "reset" { rate = 1 }
  }
  allow "mixed.example" {
    fault "delay" {
      rate  = 1
      delay = "1s"
    }
  }
  allow "plain.example" {}
}
secret "aws" {
  env = "AWS_SECRET_ACCESS_KEY"
  aws {}
}
secret "session" {
  file     = "/k"
  variable = "S"
  aws {
    access_key_env    = "A"
    session_token_env = "T"
  }
}
`

func faultSpec(t *testing.T) *Spec {
	t.Helper()
	return mustLoad(t, "/p/f.hcl", mapOptions(map[string]string{"/p/f.hcl": faultProfile}))
}

func TestFaults(t *testing.T) {
	s := faultSpec(t)
	seven := int64(7)
	status := Fault{Kind: FaultStatus, Rate: 1.0 / 3, Seed: &seven, Status: 503, Body: "{\"error\": \"${overloaded}\"}\n", Origin: at("f.hcl", 5)}
	delay := Fault{Kind: FaultDelay, Rate: 0.5, Delay: 90 * time.Second, Origin: at("f.hcl", 11)}
	truncate := Fault{Kind: FaultTruncate, Rate: 1, Origin: at("f.hcl", 18)}
	reset := Fault{Kind: FaultReset, Rate: 1, Origin: at("f.hcl", 26)}
	second := Fault{Kind: FaultDelay, Rate: 1, Delay: time.Second, Origin: at("f.hcl", 29)}

	for _, tt := range []struct {
		host, path string
		port       uint16
		want       []Fault
		sanitizes  bool
	}{
		{"docs.example", "/a", 443, []Fault{status, delay}, true},
		{"docs.example", "/b", 443, []Fault{truncate}, true}, // another allow does not undo it
		{"mixed.example", "/", 443, []Fault{reset, second}, false},
		{"mixed.example", "/", 80, []Fault{reset}, false},
		{"plain.example", "/", 443, nil, false},
	} {
		a := s.Network.Access(tt.host, netip.Addr{}, tt.port)
		matches, denied := a.Request("GET", tt.path)
		if denied != "" {
			t.Errorf("%s%s: %s", tt.host, tt.path, denied)
			continue
		}
		var got []Fault
		for _, f := range a.Faults(matches[0]) {
			got = append(got, *f)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s%s:%d: %s", tt.host, tt.path, tt.port, diff)
		}
		if a.Sanitizes() != tt.sanitizes {
			t.Errorf("%s%s: sanitizes %v", tt.host, tt.path, a.Sanitizes())
		}
		if wants := tt.port == 443 && (tt.sanitizes || tt.want != nil); a.Plaintext() != wants {
			t.Errorf("%s:%d: plaintext %v", tt.host, tt.port, a.Plaintext())
		}
	}
	secrets := []Secret{
		{Name: "aws", Env: "AWS_SECRET_ACCESS_KEY", Variable: "AWS_SECRET_ACCESS_KEY", AWS: &AWS{AccessKeyEnv: "AWS_ACCESS_KEY_ID"}, Origin: at("f.hcl", 36)},
		{Name: "session", File: "/k", Variable: "S", AWS: &AWS{AccessKeyEnv: "A", SessionTokenEnv: "T"}, Origin: at("f.hcl", 40)},
	}
	if diff := cmp.Diff(secrets, s.Secrets); diff != "" {
		t.Error(diff)
	}
}
