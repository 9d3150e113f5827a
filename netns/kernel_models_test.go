package netns

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

const modelsProfile = `
network {
  allow "api.anthropic.com" {
    like   = "anthropic"
    secret = secret.anthropic
  }
  allow "api.openai.com"  { provider = "openai" }
  allow "gemini.example"  { provider = "gemini" }
  allow "local.example"   { provider = "openai-compatible" }
  allow "down.example" {
    provider = "openai-compatible"
    upstream = "127.0.0.1:1"
  }
  allow "other.example" {
    provider = "openai-compatible"
    request "POST" "/v1/images/generations" {}
    request "POST" "/v1/**" {}
  }
}
secret "anthropic" { like = "anthropic" }
price "mock-*" {
  input       = 3
  output      = 15
  cache_read  = 0.3
  cache_write = 3.75
}
`

func modelSecrets() map[string]string { return map[string]string{"anthropic": apiKey} }

// args are what the mock's models call their tool with, and its digest.
const toolArgs = `{"command":"ls -l"}`

func toolDigest() string {
	sum := sha256.Sum256([]byte(toolArgs))
	return hex.EncodeToString(sum[:])
}

// modelAnswers are one answer of each API, with the same counts: 100 tokens in, 40 more
// of them from a cache, 20 out.
func modelAnswers() map[string]string {
	escaped, _ := json.Marshal(toolArgs)
	sse := func(events ...string) string {
		return "data: " + strings.Join(events, "\n\ndata: ") + "\n\n"
	}
	chat := `"usage":{"prompt_tokens":140,"completion_tokens":20,"total_tokens":160,"prompt_tokens_details":{"cached_tokens":40}}`
	responses := `"usage":{"input_tokens":140,"input_tokens_details":{"cached_tokens":40},"output_tokens":20,"total_tokens":160}`
	gemini := `{"candidates":[{"content":{"parts":[{"functionCall":{"name":"Bash","args":` + toolArgs + `}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":140,"cachedContentTokenCount":40,"candidatesTokenCount":20,"totalTokenCount":160},"modelVersion":"mock-1"}`
	item := `{"type":"function_call","name":"Bash","arguments":` + string(escaped) + `}`
	return map[string]string{
		"/v1/messages": `{"type":"message","model":"mock-1","content":[{"type":"tool_use","name":"Bash","input":` + toolArgs + `}],"usage":{"input_tokens":100,"cache_read_input_tokens":40,"cache_creation_input_tokens":0,"output_tokens":20}}`,
		"/v1/messages?stream": sse(`{"type":"message_start","message":{"model":"mock-1","usage":{"input_tokens":100,"cache_read_input_tokens":40,"output_tokens":1}}}`,
			`{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","name":"Bash","input":{}}}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":`+string(escaped)+`}}`,
			`{"type":"message_delta","delta":{},"usage":{"output_tokens":20}}`, `{"type":"message_stop"}`),
		"/v1/chat/completions": `{"model":"mock-1","choices":[{"index":0,"message":{"tool_calls":[{"type":"function","function":{"name":"Bash","arguments":` + string(escaped) + `}}]}}],` + chat + `}`,
		"/v1/chat/completions?stream": sse(`{"model":"mock-1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"Bash","arguments":`+string(escaped)+`}}]}}]}`,
			`{"model":"mock-1","choices":[],`+chat+`}`, `[DONE]`),
		"/v1/responses":                                   `{"object":"response","status":"completed","model":"mock-1","output":[` + item + `],` + responses + `}`,
		"/v1/responses?stream":                            sse(`{"type":"response.output_item.done","item":`+item+`}`, `{"type":"response.completed","response":{"model":"mock-1","output":[`+item+`],`+responses+`}}`),
		"/v1beta/models/mock-1:generateContent":           gemini,
		"/v1beta/models/mock-1:streamGenerateContent":     "[" + gemini + "]",
		"/v1beta/models/mock-1:streamGenerateContent?sse": sse(gemini),
	}
}

// modelOrigin speaks every API. What it is asked by other paths is for the test's
// corners.
func modelOrigin(t *testing.T, release chan struct{}) *origin {
	return newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/early/v1/messages" { // without the body, which its sender holds back
			io.WriteString(w, modelAnswers()["/v1/messages"])
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		rc := http.NewResponseController(w)
		if r.Header.Get("Upgrade") != "" {
			c, _, err := rc.Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			for event := range strings.SplitSeq(strings.TrimSpace(modelAnswers()["/v1/responses?stream"]), "\n\n") {
				event = strings.TrimPrefix(event, "data: ")
				c.Write(frame(text, event[:9], ""))
				c.Write(frame(finPing, "p", ""))
				c.Write(frame(finContinue, event[9:], ""))
			}
			c.Write(frame(finText, `{"type":"response.created","response":{"model":"mock-1"}}`, ""))
			return
		}
		switch r.URL.Path {
		case "/wait/v1/messages":
			events := strings.SplitAfter(modelAnswers()["/v1/messages?stream"], "\n\n")
			io.WriteString(w, events[0])
			rc.Flush()
			<-release
			io.WriteString(w, strings.Join(events[1:], ""))
		case "/wait/v1/release", "/wait/release":
			release <- struct{}{}
		case "/cut/v1/messages":
			events := strings.SplitAfter(modelAnswers()["/v1/messages?stream"], "\n\n")
			io.WriteString(w, events[0])
			rc.Flush()
			panic(http.ErrAbortHandler)
		case "/nothing/v1/chat/completions":
			io.WriteString(w, `{"model":"mock-1","choices":[]}`)
		case "/lies/v1/messages":
			io.WriteString(w, `{"model":"mock-1","usage":{"input_tokens":-100,"output_tokens":99999999999999999999}}`)
		case "/broken/v1/messages":
			w.WriteHeader(529)
			io.WriteString(w, `{"type":"error"}`)
		case "/dearer/v1/messages":
			io.WriteString(w, `{"model":"claude-opus-4-1","usage":{"input_tokens":100,"output_tokens":20}}`)
		default:
			body, ok := modelAnswers()[r.RequestURI]
			if !ok {
				io.WriteString(w, "free")
				return
			}
			if strings.HasPrefix(r.Header.Get("Accept-Encoding"), "gzip") {
				w.Header().Set("Content-Encoding", "gzip")
				z := gzip.NewWriter(w)
				defer z.Close()
				io.WriteString(z, body)
				return
			}
			io.WriteString(w, body)
		}
	}, "api.anthropic.com", "api.openai.com", "gemini.example", "local.example", "other.example")
}

// models are the records of calls and of tools so far, in order.
func (b *ibox) models() (calls []audit.ModelCall, tools []audit.ModelTool) {
	for _, r := range b.sink.all() {
		switch r := r.(type) {
		case audit.ModelCall:
			calls = append(calls, r)
		case audit.ModelTool:
			tools = append(tools, r)
		}
	}
	return calls, tools
}

// waitModels waits until so many calls were recorded.
func (b *ibox) waitModels(n int) []audit.ModelCall {
	b.t.Helper()
	b.sink.wait(b.t, fmt.Sprintf("the %dth call of a model", n), func(audit.Record) bool {
		calls, _ := b.models()
		return len(calls) >= n
	})
	calls, _ := b.models()
	return calls
}

func TestKernelModels(t *testing.T) {
	release := make(chan struct{}, 4)
	o := modelOrigin(t, release)
	b := newInterceptBox(t, o, modelsProfile, modelSecrets())
	n := 0
	for uri, body := range modelAnswers() {
		host := map[byte]string{'m': "api.anthropic.com", 'c': "api.openai.com", 'r': "api.openai.com"}[uri[4]]
		if strings.Contains(uri, "Content") {
			host = "gemini.example"
		}
		for _, h1 := range []bool{true, false} {
			for _, coding := range []string{"", "gzip"} {
				a := fetchArg{URL: "https://" + host + uri, Method: "POST", Body: `{"model":"mock-1"}`, H1: h1}
				if coding != "" {
					a.Header = map[string][]string{"Accept-Encoding": {coding + ", deflate"}}
				}
				if got := b.fetch(a); got.Status != 200 || got.Body != body {
					t.Errorf("%s: %d %q %s", uri, got.Status, got.Body, got.Err)
				}
				n++
				call := b.waitModels(n)[n-1]
				want := audit.ModelCall{Provider: map[string]string{"api.anthropic.com": "anthropic", "api.openai.com": "openai", "gemini.example": "gemini"}[host],
					Model: "mock-1", Host: host, Port: 443, Status: 200, Usage: "whole", Input: 100, Output: 20, CacheRead: 40, Tools: 1,
					CostMicroUSD: new(int64(100*3 + 20*15 + 40*3/10)), Outcome: audit.Allowed}
				if diff := cmp.Diff(want, call, cmpopts.IgnoreFields(audit.ModelCall{}, "ID", "Path", "Rule")); diff != "" {
					t.Errorf("%s (HTTP/1.1 %v, %q): %s", uri, h1, coding, diff)
				}
				if !strings.HasPrefix(call.Rule, "test.hcl:") || call.ID == 0 || call.Path != strings.Split(uri, "?")[0] {
					t.Errorf("%+v", call)
				}
			}
		}
	}
	b.sink.wait(t, "the tools", func(audit.Record) bool { _, tools := b.models(); return len(tools) == n })
	_, tools := b.models()
	for _, tool := range tools {
		if tool.Name != "Bash" || tool.Digest != toolDigest() || tool.Model != "mock-1" {
			t.Errorf("%+v", tool)
		}
	}

	// Nothing is held back: the second event is only sent once the first one arrived.
	for _, h1 := range []bool{true, false} {
		got := b.do("stream", fetchArg{URL: "https://api.anthropic.com/wait/v1/messages", Method: "POST", Body: `{"model":"mock-1"}`, CA: b.ca, H1: h1})
		first, rest, _ := strings.Cut(strings.TrimPrefix(got, "ok "), "|")
		if first+rest != modelAnswers()["/v1/messages?stream"] || !strings.Contains(first, "message_start") || strings.Contains(first, "message_delta") {
			t.Errorf("a stream (HTTP/1.1 %v): %s", h1, got)
		}
		n++
		if call := b.waitModels(n)[n-1]; call.Usage != "whole" || call.Output != 20 {
			t.Errorf("a stream: %+v", call)
		}
	}

	// What the host does not say, or says wrongly, is never passed off as nothing.
	for _, c := range []struct {
		url  string
		want audit.ModelCall
	}{
		{"https://api.anthropic.com/cut/v1/messages", audit.ModelCall{Status: 200, Usage: "partial", Input: 100, Output: 1, CacheRead: 40, Estimated: true}},
		{"https://local.example/nothing/v1/chat/completions", audit.ModelCall{Status: 200, Usage: "unknown", Estimated: true}},
		{"https://api.anthropic.com/lies/v1/messages", audit.ModelCall{Status: 200, Usage: "unknown", Estimated: true}},
		{"https://api.anthropic.com/broken/v1/messages", audit.ModelCall{Status: 529, Usage: "unknown", CostMicroUSD: new(int64(0))}},
		{"https://api.anthropic.com/dearer/v1/messages", audit.ModelCall{Status: 200, Usage: "whole", Input: 100, Output: 20, CostMicroUSD: new(int64(100*15 + 20*75))}},
	} {
		b.fetch(fetchArg{URL: c.url, Method: "POST", Body: `{"model":"mock-1","max_tokens":50,"messages":[{"content":"a few words"}]}`})
		n++
		call := b.waitModels(n)[n-1]
		if c.want.CostMicroUSD == nil && (call.CostMicroUSD == nil || *call.CostMicroUSD < 50*15) {
			t.Errorf("%s costs %v", c.url, call.CostMicroUSD)
		}
		ignore := []string{"ID", "Provider", "Model", "Host", "Port", "Path", "Rule", "Outcome", "Reason", "Tools"}
		if c.want.CostMicroUSD == nil {
			ignore = append(ignore, "CostMicroUSD")
		}
		if diff := cmp.Diff(c.want, call, cmpopts.IgnoreFields(audit.ModelCall{}, ignore...)); diff != "" {
			t.Errorf("%s: %s", c.url, diff)
		}
	}

	// A host may answer before any of the body was read: it waits for "100 Continue" here.
	for _, h1 := range []bool{true, false} {
		got := b.fetch(fetchArg{URL: "https://api.anthropic.com/early/v1/messages", Method: "POST", Body: `{"model":"mock-1"}`, H1: h1, Header: map[string][]string{"Expect": {"100-continue"}}})
		if got.Status != 200 || got.Body != modelAnswers()["/v1/messages"] {
			t.Errorf("an early answer (HTTP/1.1 %v): %+v", h1, got)
		}
		n++
		if call := b.waitModels(n)[n-1]; call.Usage != "whole" || call.Input != 100 || call.Output != 20 || call.CostMicroUSD == nil || *call.CostMicroUSD != 100*3+20*15+40*3/10 {
			t.Errorf("an early answer (HTTP/1.1 %v): %+v", h1, call)
		}
	}

	// Codex asks over a WebSocket: each response on it is a call.
	b.do("websocket", fetchArg{Host: "api.openai.com:443",
		Body: "GET /v1/responses HTTP/1.1\r\nHost: api.openai.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"})
	n++
	if call := b.waitModels(n)[n-1]; call.Usage != "whole" || call.Input != 100 || call.Output != 20 || call.Tools != 1 || call.Status != 101 {
		t.Errorf("a response on a WebSocket: %+v", call)
	}

	n++
	if call := b.waitModels(n)[n-1]; call.Usage != "unknown" || call.Model != "mock-1" {
		t.Errorf("a response that does not end: %+v", call)
	}

	// What costs nothing is no call, and without a budget nothing is refused.
	b.wantFetch(fetchArg{URL: "https://api.anthropic.com/v1/models"}, 200, "free")
	b.wantFetch(fetchArg{URL: "https://api.anthropic.com/v1/messages/count_tokens", Method: "POST", Body: "{}"}, 200, "free")
	b.wantFetch(fetchArg{URL: "https://api.openai.com/v1/images/generations", Method: "POST", Body: "{}"}, 200, "free")
	if calls, _ := b.models(); len(calls) != n {
		t.Errorf("%d calls, want %d", len(calls), n)
	}
}

// testLedger is what the supervisor would keep.
type testLedger struct {
	mu       sync.Mutex
	left     map[string]profiles.Amount
	reserved map[uint64][]Charge
	settled  [][]Charge
}

func (l *testLedger) Reserve(_ context.Context, charges []Charge) (uint64, []BudgetState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range charges {
		if left := l.left[c.Budget]; c.Amount > left || c.Open && left == 0 {
			return 0, nil, &BudgetRefusal{Budget: c.Budget, Reason: "the budget is used up"}
		}
	}
	var states []BudgetState
	for _, c := range charges {
		l.left[c.Budget] -= c.Amount
		left := l.left[c.Budget]
		states = append(states, BudgetState{Name: c.Budget, Left: &left})
	}
	id := uint64(len(l.reserved) + 1)
	l.reserved[id] = charges
	return id, states, nil
}

func (l *testLedger) Settle(_ context.Context, id uint64, charges []Charge) ([]BudgetState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.reserved[id] {
		l.left[c.Budget] += c.Amount
	}
	for _, c := range charges {
		l.left[c.Budget] -= c.Amount
	}
	l.settled = append(l.settled, charges)
	return nil, nil
}

// last waits for the nth settlement.
func (l *testLedger) last(b *ibox, n int) []Charge {
	b.t.Helper()
	b.sink.wait(b.t, fmt.Sprintf("the %dth settlement", n), func(audit.Record) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.settled) >= n
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.settled) < n {
		return nil
	}
	return l.settled[n-1]
}

func TestKernelModelBudgets(t *testing.T) {
	o := modelOrigin(t, make(chan struct{}))
	all := func() map[string]profiles.Amount {
		return map[string]profiles.Amount{profiles.BudgetModel: 10 * profiles.One, profiles.BudgetTokens: 1_000_000 * profiles.One}
	}
	ledger := &testLedger{left: all(), reserved: map[uint64][]Charge{}}
	b := newInterceptBox(t, o, modelsProfile, modelSecrets(), func(c *Config) {
		c.Budgets = []profiles.Budget{{Name: profiles.BudgetModel, Unit: "usd"}, {Name: profiles.BudgetTokens}}
		c.Ledger = ledger
	})
	const messages = "https://api.anthropic.com/v1/messages"
	settled := 0
	call := func(a fetchArg) (fetched, []Charge) {
		t.Helper()
		a.Method = "POST"
		got := b.fetch(a)
		settled++
		return got, ledger.last(b, settled)
	}

	// Before: the most that it may cost. After: what it cost.
	got, charges := call(fetchArg{URL: messages, Body: `{"model":"mock-1","max_tokens":1000,"messages":[{"content":"hello there"}]}`})
	if got.Status != 200 || got.Header.Get(budgetHeader) == "" {
		t.Errorf("%d %v", got.Status, got.Header)
	}
	want := []Charge{{Budget: "model", Amount: 612}, {Budget: "tokens", Amount: 160 * profiles.One}}
	if diff := cmp.Diff(want, charges); diff != "" {
		t.Errorf("settled: %s", diff)
	}
	text := int64(len("mock-1") + len("hello there"))
	estimate := (text + bytesPerToken - 1) / bytesPerToken
	want = []Charge{{Budget: "model", Amount: profiles.Amount(1000*15 + estimate*3), Open: true}, {Budget: "tokens", Amount: profiles.Amount(1000+estimate) * profiles.One, Open: true}}
	if diff := cmp.Diff(want, ledger.reserved[1]); diff != "" {
		t.Errorf("reserved: %s", diff)
	}

	// What is not told in the answer counts as the most that it may have cost.
	for _, c := range []struct {
		url    string
		tokens int64
	}{
		{"https://api.anthropic.com/cut/v1/messages", 140 + 1000},
		{"https://api.anthropic.com/lies/v1/messages", 1000 + 6},
		{"https://local.example/nothing/v1/chat/completions", 1000 + 6},
		{"https://api.anthropic.com/broken/v1/messages", 0},
		{"https://down.example/v1/messages", 0},
	} {
		_, charges := call(fetchArg{URL: c.url, Body: `{"model":"mock-1","max_tokens":1000,"messages":[{"content":"hello there"}]}`})
		if len(charges) != 2 || charges[1].Amount != profiles.Amount(c.tokens)*profiles.One || (charges[0].Amount == 0) != (c.tokens == 0) {
			t.Errorf("%s: settled %+v, want %d tokens", c.url, charges, c.tokens)
		}
	}

	// Compressed and large requests are understood as well, and arrive as they were.
	var z strings.Builder
	w := gzip.NewWriter(&z)
	io.WriteString(w, `{"model":"mock-1","max_tokens":10}`)
	w.Close()
	raw := []byte(z.String())
	got, _ = call(fetchArg{URL: messages, Bytes: raw, Header: map[string][]string{"Content-Encoding": {"gzip"}}})
	if got.Status != 200 {
		t.Errorf("a compressed request: %d %s", got.Status, got.Body)
	}
	large := `{"max_tokens":10,"messages":[{"content":"` + strings.Repeat("word ", 200_000) + `"}],"model":"mock-1"}`
	if got, _ = call(fetchArg{URL: messages, Body: large}); got.Status != 200 {
		t.Errorf("a large request: %d %s", got.Status, got.Body)
	}

	// Nothing of these is sent.
	before := len(o.got())
	for name, c := range map[string]struct {
		arg    fetchArg
		status int
		text   string
	}{
		"an unknown model":       {fetchArg{URL: messages, Body: `{"model":"unheard-of"}`}, 403, "the price of the model \"unheard-of\" is not known"},
		"two models":             {fetchArg{URL: messages, Body: `{"model":"mock-1","model":"claude-opus-4-1"}`}, 403, "names its model twice"},
		"two spellings":          {fetchArg{URL: messages, Body: `{"model":"mock-1","Model":"claude-opus-4-1"}`}, 403, "names its model twice"},
		"no model":               {fetchArg{URL: messages, Body: `{}`}, 403, "names no model"},
		"no JSON":                {fetchArg{URL: messages, Body: `model=mock-1`}, 403, "is no JSON"},
		"no body":                {fetchArg{URL: messages}, 403, "is no JSON"},
		"an unknown coding":      {fetchArg{URL: messages, Bytes: raw, Header: map[string][]string{"Content-Encoding": {"compress"}}}, 415, "coded in a way"},
		"too large":              {fetchArg{URL: messages, Size: maxHeldBody + 1}, 413, "larger than 32MiB"},
		"in the background":      {fetchArg{URL: "https://api.openai.com/v1/responses", Body: `{"model":"mock-1","background":true}`}, 403, "in the background"},
		"a dearer tier":          {fetchArg{URL: messages, Body: `{"model":"mock-1","speed":"fast"}`}, 403, "speed asks for another tier"},
		"an unmetered request":   {fetchArg{URL: "https://api.openai.com/v1/images/generations", Body: `{}`}, 403, "it can't be told what this request costs"},
		"a call in disguise":     {fetchArg{URL: messages, Method: "GET", Header: map[string][]string{"X-Http-Method-Override": {"POST"}}}, 403, "another request of this one"},
		"a batch":                {fetchArg{URL: "https://api.anthropic.com/v1/messages/batches", Body: `{}`}, 403, "it can't be told what this request costs"},
		"unmetered, by wildcard": {fetchArg{URL: "https://other.example/v1/images/edits", Body: `{}`}, 403, "it can't be told what this request costs"},
		"a WebSocket": {fetchArg{URL: "https://api.openai.com/v1/responses", Method: "GET", H1: true,
			Header: map[string][]string{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Sec-Websocket-Version": {"13"}}}, 426, "ask over HTTP"},
	} {
		if c.arg.Method == "" {
			c.arg.Method = "POST"
		}
		if got := b.fetch(c.arg); got.Status != c.status || !strings.Contains(got.Body, c.text) {
			t.Errorf("%s: %d %s %s, want %d %s", name, got.Status, got.Body, got.Err, c.status, c.text)
		}
	}
	if n := len(o.got()) - before; n != 0 {
		t.Errorf("%d refused requests were sent", n)
	}
	// A rule that writes the path out is explicit.
	b.wantFetch(fetchArg{URL: "https://other.example/v1/images/generations", Method: "POST", Body: `{}`}, 200, "free")
	b.wantFetch(fetchArg{URL: "https://api.anthropic.com/v1/models"}, 200, "free")

	// Used up: refused beforehand, as the ledger says.
	ledger.mu.Lock()
	ledger.left[profiles.BudgetTokens] = 0
	ledger.mu.Unlock()
	before = len(o.got())
	b.wantFetch(fetchArg{URL: messages, Method: "POST", Body: `{"model":"mock-1"}`}, 402, "the budget is used up")
	if n := len(o.got()) - before; n != 0 {
		t.Errorf("%d requests were sent without a budget", n)
	}
	ledger.mu.Lock()
	defer ledger.mu.Unlock()
	if spent := all()[profiles.BudgetModel] - ledger.left[profiles.BudgetModel]; spent != func() (sum profiles.Amount) {
		for _, s := range ledger.settled {
			i := slices.IndexFunc(s, func(c Charge) bool { return c.Budget == profiles.BudgetModel })
			sum += s[i].Amount
		}
		return sum
	}() {
		t.Errorf("%s is gone, and not what was settled", spent)
	}
}
