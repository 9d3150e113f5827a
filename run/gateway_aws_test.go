package run_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/netns/sigv4"
)

// TestGatewayAWS: a client of AWS signs with the placeholders of the jail, and the host
// gets a signature of the real key.
func TestGatewayAWS(t *testing.T) {
	needTool(t, "curl")
	const id, secret, token = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "IQoJb3JpZ2luX2VjEXAMPLETOKEN0123456789"
	ca := newAuthority(t)
	upstream := ca.serve(t, "s3.example", "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s, err := sigv4.Read(r)
		if err != nil || s == nil {
			fmt.Fprintf(w, "signature %+v %v\n", s, err)
			return
		}
		sum := sha256.Sum256(body)
		again := r.Clone(r.Context())
		if err := s.Sign(again, r.Host, sigv4.Key{AccessKey: id, Secret: []byte(secret), SessionToken: token}, hex.EncodeToString(sum[:])); err != nil {
			fmt.Fprintln(w, err)
			return
		}
		fmt.Fprintf(w, "good=%v key=%s\n", again.Header.Get("Authorization") == r.Header.Get("Authorization"), s.AccessKey)
	}))
	c := newCaller(t, fmt.Sprintf(`
network {
  allow "s3.example" {
    upstream    = %q
    upstream_ca = %q
    secret      = secret.aws
  }
}
secret "aws" {
  env = "AWS_SECRET_ACCESS_KEY"
  aws { session_token_env = "AWS_SESSION_TOKEN" }
}
`, upstream, ca.file))
	c.env = append(c.env, "AWS_ACCESS_KEY_ID="+id, "AWS_SECRET_ACCESS_KEY="+secret, "AWS_SESSION_TOKEN="+token)
	o := c.must("sh", "-c", `echo $AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY $AWS_SESSION_TOKEN
		curl -sS --aws-sigv4 aws:amz:eu-west-1:dynamodb --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" -H "x-amz-security-token: $AWS_SESSION_TOKEN" -d '{"a":1}' https://s3.example/
		curl -sS --aws-sigv4 aws:amz:eu-west-1:dynamodb --user "AKIAOWNKEYOFTHEAGENT:secret" https://s3.example/`)
	lines := strings.Split(o.stdout, "\n")
	words := strings.Fields(lines[0])
	if len(words) != 3 || !strings.HasPrefix(words[0], "AKIA") || len(words[0]) != len(id) || len(words[1]) != len(secret) || len(words[2]) != len(token) {
		t.Fatalf("the placeholders: %q\n%s", lines[0], o.stderr)
	}
	for _, value := range []string{id, secret, token} {
		if strings.Contains(o.stdout+o.stderr, value) {
			t.Errorf("the jail has %s", value)
		}
	}
	if want := "good=true key=" + words[0]; lines[1] != want {
		t.Errorf("%q, want %q\n%s", lines[1], want, o.stderr)
	}
	if !strings.Contains(lines[2], "not the placeholder") {
		t.Errorf("the agent's own key: %q", lines[2])
	}
	wantEvent(t, o.events(), "the request", func(v audit.View, e audit.Event) bool {
		return v.Kind == "http" && v.Verdict == "allowed" && strings.Contains(string(e.Unmapped), `"aws"`)
	})
	for _, missing := range []string{"AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN"} {
		env := c.env
		c.env = without(c.env, missing+"=")
		if o := c.run("true"); o.code != 125 || !strings.Contains(o.stderr, "the variable "+missing+" is not set") {
			t.Errorf("without %s: %d %s", missing, o.code, o.stderr)
		}
		c.env = env
	}
}
