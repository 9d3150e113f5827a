package run_test

import (
	"bufio"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

// modelEvents are the calls of models and the tools that the models asked for.
func modelEvents(events []audit.Event) (calls, tools []audit.Event) {
	for _, e := range events {
		switch e.TypeUID {
		case 600301:
			calls = append(calls, e)
		case 600399:
			tools = append(tools, e)
		}
	}
	return calls, tools
}

// modelFacts are what the schema has no attribute for.
type modelFacts struct {
	Usage     string `json:"usage"`
	Cost      *int64 `json:"cost_microusd"`
	Arguments string `json:"arguments_sha256"`
	Tokens    struct {
		Input      int64 `json:"input"`
		Output     int64 `json:"output"`
		CacheRead  int64 `json:"cache_read"`
		CacheWrite int64 `json:"cache_write"`
	} `json:"tokens"`
}

func factsOf(t *testing.T, e audit.Event) (f modelFacts) {
	t.Helper()
	if err := json.Unmarshal(e.Unmapped, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestJailModels: a program in the jail calls a model as it would anywhere, with a key
// that is none; what it used is in the trail, in the line at the end and in the list of
// runs.
func TestJailModels(t *testing.T) {
	needTool(t, "curl")
	ca := newAuthority(t)
	const key = "sk-ant-api03-RealKeyOfTheTest0123456789abcdef"
	addr := ca.serve(t, "api.anthropic.com", "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil || r.Header.Get("X-Api-Key") != key {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for _, e := range []string{
			`{"type":"message_start","message":{"model":"claude-sonnet-4-5-20250929","usage":{"input_tokens":1000,"cache_read_input_tokens":20000,"cache_creation_input_tokens":400,"output_tokens":1}}}`,
			`{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","name":"Bash","input":{}}}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"command\": \"ls\"}"}}`,
			`{"type":"message_delta","delta":{},"usage":{"output_tokens":300}}`, `{"type":"message_stop"}`,
		} {
			fmt.Fprintf(w, "data: %s\n\n", e)
		}
	}))
	c := newCaller(t, fmt.Sprintf(`
network {
  allow "anthropic" {
    like        = "anthropic"
    secret      = secret.anthropic
    upstream    = %q
    upstream_ca = %q
  }
}
secret "anthropic" { like = "anthropic" }
`, addr, ca.file))
	c.env = append(c.env, "ANTHROPIC_API_KEY="+key)
	o := c.must("sh", "-c", `set -e
		case $ANTHROPIC_API_KEY in sk-ant-api03-*) ;; *) exit 8;; esac
		for i in 1 2; do
			curl -sS https://api.anthropic.com/v1/messages -H "x-api-key: $ANTHROPIC_API_KEY" -d '{"model":"claude-sonnet-4-5","stream":true}'
		done`)
	if strings.Count(o.stdout, "message_stop") != 2 || strings.Contains(o.stdout, key) {
		t.Errorf("curl printed %s", o.stdout)
	}
	calls, tools := modelEvents(o.events())
	if len(calls) != 2 || len(tools) != 2 {
		t.Fatalf("%d calls and %d tools in the trail", len(calls), len(tools))
	}
	const cost = 1000*3 + 20000*3/10 + 400*375/100 + 300*15 // millionths of a dollar: 15000
	for _, e := range calls {
		f := factsOf(t, e)
		if f.Usage != "whole" || f.Tokens.Input != 1000 || f.Tokens.CacheRead != 20000 || f.Tokens.CacheWrite != 400 || f.Tokens.Output != 300 || f.Cost == nil || *f.Cost != cost {
			t.Errorf("the call: %s", e.Raw)
		}
		if e.Model.Name != "claude-sonnet-4-5-20250929" || e.Model.Provider != "anthropic" || e.Policy.UID != "test.hcl:4" || e.Dst.Hostname != "api.anthropic.com" {
			t.Errorf("the call: %s", e.Raw)
		}
	}
	// printf '{"command":"ls"}' | sha256sum
	if f := factsOf(t, tools[0]); tools[0].API.Operation != "Bash" || f.Arguments != "4cf29611a66934862f29acfcc817e30b905c1ab73d5e65831413eb6b454d49db" {
		t.Errorf("the tool: %s", tools[0].Raw)
	}
	const said = "2 model calls, 43400 tokens, $0.03;"
	if !strings.Contains(o.stderr, said) || strings.Contains(o.stderr, "warning") {
		t.Errorf("stderr has no %q: %s", said, o.stderr)
	}

	// A key of another kind is told from the right one; nothing of it is shown.
	c.env[len(c.env)-1] = "ANTHROPIC_API_KEY=sk-proj-QwErTyUiOpAsDfGhJkLzXcVb"
	o = c.must("true")
	if !strings.Contains(o.stderr, `warning: secret "anthropic" (test.hcl:10): the value does not look like a credential of Anthropic`) || strings.Contains(o.stderr, "QwEr") {
		t.Errorf("stderr: %s", o.stderr)
	}
	if o = c.runWith([]string{"--strict"}, "true"); o.code != 125 || strings.Contains(o.stderr, "QwEr") {
		t.Errorf("--strict: %d %s", o.code, o.stderr)
	}
}

// TestJailModelBudget: a run may spend so much on models, and no more. The call that
// may cost more than is left is not sent.
func TestJailModelBudget(t *testing.T) {
	needTool(t, "curl")
	ca, served := newAuthority(t), &requests{}
	addr := ca.serve(t, "api.anthropic.com", "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.ServeHTTP(httptest.NewRecorder(), r)
		fmt.Fprint(w, `{"model":"claude-sonnet-4-5","usage":{"input_tokens":1000,"output_tokens":800}}`)
	}))
	c := newCaller(t, fmt.Sprintf(`
network {
  allow "anthropic" {
    like        = "anthropic"
    upstream    = %q
    upstream_ca = %q
  }
}
budget "model" {
  unit    = "usd"
  per_run = 0.02
}
budget "tokens" { per_run = 100000 }
`, addr, ca.file))
	o := c.must("sh", "-c", `
		post() { curl -sS -w '%{http_code}\n' https://api.anthropic.com/v1/messages -d "$1"; }
		post '{"model":"claude-sonnet-4-5","max_tokens":1000}'
		post '{"model":"claude-sonnet-4-5","max_tokens":1000}'
		post '{"model":"claude-nobody-knows","max_tokens":1}'`)
	// 1000 * 3 + 800 * 15 are 15000 millionths of a dollar; 5000 are left, and another
	// thousand tokens of output would be 15000.
	for _, want := range []string{`}200`, `402`, `the price of the model "claude-nobody-knows" is not known`, `403`} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("curl printed %s, want %s", o.stdout, want)
		}
	}
	if got := served.all(); len(got) != 1 {
		t.Errorf("the host got %q", got)
	}
	calls, _ := modelEvents(o.events())
	if len(calls) != 1 || *factsOf(t, calls[0]).Cost != 15000 {
		t.Errorf("%d calls in the trail", len(calls))
	}
	if !strings.Contains(o.stderr, "1 model call, 1800 tokens, $0.015;") {
		t.Errorf("stderr: %s", o.stderr)
	}
}

// mockRecord is a line of the mock's log.
type mockRecord struct {
	API   string `json:"api"`
	Usage struct {
		Input  int64 `json:"input"`
		Output int64 `json:"output"`
	} `json:"usage"`
	Reply struct {
		Tool string `json:"tool"`
	} `json:"reply"`
}

// TestJailMockLLM compares the trail with the log of a stand-in for four providers'
// services, a Python program.
func TestJailMockLLM(t *testing.T) {
	needTool(t, "curl")
	python := needTool(t, "python3")
	script := os.Getenv("AGENTJAIL_MOCKLLM")
	if script == "" {
		t.Skip("the stand-in for providers is missing: set AGENTJAIL_MOCKLLM to mockllm.py")
	}
	ca, dir := newAuthority(t), t.TempDir()
	cert := ca.issue(t, "llm.example")
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Join(dir, "log")
	mock := exec.Command(python, script, "--port", "0", "--tls", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), "--log", log)
	mock.Stderr = os.Stderr
	out, err := mock.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := mock.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mock.Process.Kill(); _ = mock.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	_, addr, ok := strings.Cut(strings.TrimSpace(line), "https://")
	if err != nil || !ok {
		t.Fatalf("the mock said %q: %v", line, err)
	}
	c := newCaller(t, fmt.Sprintf(`
network {
  allow "llm.example" {
    provider    = "openai-compatible"
    upstream    = %q
    upstream_ca = %q
  }
}
price "mock-*" {
  input  = 2
  output = 8
}
`, addr, ca.file))
	o := c.must("sh", "-c", `set -e
		post() { curl -sS --fail "https://llm.example$1" -d "$2" >>out; }
		for stream in false true; do
			post /v1/messages '{"model":"mock-a","stream":'$stream',"tools":[{"name":"Bash","input_schema":{"properties":{"command":{"type":"string"}}}}],"messages":[]}'
			post /v1/chat/completions '{"model":"mock-a","stream":'$stream',"tools":[{"type":"function","function":{"name":"Bash","parameters":{"properties":{"command":{"type":"string"}}}}}],"messages":[]}'
			post /v1/responses '{"model":"mock-a","stream":'$stream',"tools":[{"type":"function","name":"Bash","parameters":{"properties":{"command":{"type":"string"}}}}],"input":[]}'
		done
		gemini='{"tools":[{"functionDeclarations":[{"name":"Bash","parameters":{"properties":{"command":{"type":"string"}}}}]}],"contents":[]}'
		post /v1beta/models/mock-a:generateContent "$gemini"
		post /v1beta/models/mock-a:streamGenerateContent "$gemini"
		post "/v1beta/models/mock-a:streamGenerateContent?alt=sse" "$gemini"
		curl -sS --fail https://llm.example/v1/models >>out`)
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var want []mockRecord
	for l := range strings.Lines(string(data)) {
		var r mockRecord
		if err := json.Unmarshal([]byte(l), &r); err != nil {
			t.Fatal(err)
		}
		if r.API != "" {
			want = append(want, r)
		}
	}
	calls, tools := modelEvents(o.events())
	if len(want) != 9 || len(calls) != len(want) || len(tools) != len(want) {
		t.Fatalf("the mock logged %d calls, the trail has %d and %d tools\n%s", len(want), len(calls), len(tools), o.stderr)
	}
	for i, e := range calls {
		f, w := factsOf(t, e), want[i]
		if f.Usage != "whole" || f.Tokens.Input != w.Usage.Input || f.Tokens.Output != w.Usage.Output || f.Cost == nil || *f.Cost != w.Usage.Input*2+w.Usage.Output*8 {
			t.Errorf("the mock says %+v, the trail %s", w, e.Raw)
		}
		if w.Reply.Tool != "Bash" || tools[i].API.Operation != "Bash" {
			t.Errorf("the mock says %+v, the trail %s", w, tools[i].Raw)
		}
		// The four APIs write the same arguments down in four ways.
		if digest := factsOf(t, tools[i]).Arguments; len(digest) != 64 || digest != factsOf(t, tools[0]).Arguments {
			t.Errorf("%s: digest %s, of the first one %s", w.API, digest, factsOf(t, tools[0]).Arguments)
		}
	}
}
