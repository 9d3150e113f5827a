package usage

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func digestOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// sse makes events of JSON texts.
func sse(data ...string) string {
	var b strings.Builder
	for _, d := range data {
		b.WriteString("data: " + d + "\n\n")
	}
	return b.String()
}

func read(a API, body string) Result {
	r := NewReader(a)
	_, _ = r.Write([]byte(body))
	return r.Result()
}

// answers are what the providers send, shortened to what matters.
func answers() map[string]struct {
	api  API
	body string
	want Result
} {
	list := `{"path":"/a b","n":[1, 2]}`
	listDigest := digestOf(`{"path":"/a b","n":[1,2]}`)
	started := `{"type":"message_start","message":{"id":"m","type":"message","model":"claude-x","content":[],"usage":{"input_tokens":25,"cache_creation_input_tokens":100,"cache_read_input_tokens":2000,"cache_creation":{"ephemeral_5m_input_tokens":40,"ephemeral_1h_input_tokens":60},"output_tokens":1}}}`
	toolStart := `{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"list","input":{}}}`
	ended := `{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":89}}`
	claude := Tokens{Input: 25, Output: 89, CacheRead: 2000, CacheWrite: 100, CacheWriteLong: 60}
	return map[string]struct {
		api  API
		body string
		want Result
	}{
		"anthropic JSON": {Anthropic,
			`{"id":"m","type":"message","role":"assistant","model":"claude-x","content":[{"type":"text","text":"hi \"usage\": {"},{"type":"tool_use","id":"t","name":"list","input":` + list + `}],"stop_reason":"tool_use","usage":{"input_tokens":25,"cache_creation_input_tokens":100,"cache_read_input_tokens":2000,"cache_creation":{"ephemeral_5m_input_tokens":40,"ephemeral_1h_input_tokens":60},"output_tokens":89,"service_tier":"standard"}}`,
			Result{Model: "claude-x", Tokens: claude, Seen: Whole, Tools: []Tool{{"list", listDigest}}}},
		"anthropic events": {Anthropic,
			"event: message_start\n" + sse(started) + "event: ping\n" + sse(`{"type":"ping"}`) + sse(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Look: "}}`, `{"type":"content_block_stop","index":0}`, toolStart,
				`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}`,
				`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"path\": \"/a"}}`,
				`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":" b\", \"n\": [1,2]}"}}`,
				`{"type":"content_block_stop","index":1}`, ended, `{"type":"message_stop"}`),
			Result{Model: "claude-x", Tokens: claude, Seen: Whole, Tools: []Tool{{"list", listDigest}}}},
		"anthropic events, a tool without arguments": {Anthropic,
			sse(started, toolStart, `{"type":"content_block_stop","index":1}`, ended, `{"type":"message_stop"}`),
			Result{Model: "claude-x", Tokens: claude, Seen: Whole, Tools: []Tool{{"list", digestOf("{}")}}}},
		"anthropic events, two tools whose pieces alternate": {Anthropic,
			sse(started, `{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","name":"a","input":{}}}`,
				`{"type":"content_block_start","index":1,"content_block":{"type":"server_tool_use","name":"web_search","input":{}}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"[1"}}`,
				`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"[2"}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":",3]"}}`,
				`{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":",4]"},"index":1}`, ended, `{"type":"message_stop"}`),
			Result{Model: "claude-x", Tokens: claude, Seen: Whole, Tools: []Tool{{"a", digestOf("[1,3]")}, {"web_search", digestOf("[2,4]")}}}},
		"anthropic events, an index that comes too late": {Anthropic,
			sse(started, `{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","name":"a","input":{}}}`,
				`{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","name":"b","input":{}}}`,
				`{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"[1]"},"index":0}`, ended, `{"type":"message_stop"}`),
			Result{Model: "claude-x", Tokens: claude, Seen: Whole, Tools: []Tool{{"a", digestOf("{}")}, {"b", ""}}}},
		"anthropic events, cut off": {Anthropic, sse(started, toolStart) + `data: {"type":"content_block_del`,
			Result{Model: "claude-x", Tokens: Tokens{Input: 25, Output: 1, CacheRead: 2000, CacheWrite: 100, CacheWriteLong: 60}, Seen: Partial, Tools: []Tool{{"list", digestOf("{}")}}}},
		"anthropic events, the end without its counts": {Anthropic, sse(started, `{"type":"message_stop"}`),
			Result{Model: "claude-x", Tokens: Tokens{Input: 25, Output: 1, CacheRead: 2000, CacheWrite: 100, CacheWriteLong: 60}, Seen: Partial}},
		"anthropic error": {Anthropic, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, Result{Seen: Unknown}},

		"chat JSON": {OpenAI,
			`{"id":"c","object":"chat.completion","model":"gpt-x","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"list","arguments":"{\"path\": \"/a b\", \"n\": [1,2]}"}},{"id":"c2","type":"custom","custom":{"name":"patch","input":"a b"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,"prompt_tokens_details":{"cached_tokens":64},"completion_tokens_details":{"reasoning_tokens":5}}}`,
			Result{Model: "gpt-x", Tokens: Tokens{Input: 36, Output: 20, CacheRead: 64}, Seen: Whole, Tools: []Tool{{"list", listDigest}, {"patch", digestOf("a b")}}}},
		"chat events": {OpenAI,
			sse(`{"object":"chat.completion.chunk","model":"gpt-x","choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"list","arguments":""}}]},"finish_reason":null}],"usage":null}`,
				`{"model":"gpt-x","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"path\":\"/a"}}]}}],"usage":null}`,
				`{"model":"gpt-x","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"c2","type":"function","function":{"name":"other","arguments":"[]"}}]}}]}`,
				`{"model":"gpt-x","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":" b\",\"n\":[1,2]}"}}]}}]}`,
				`{"model":"gpt-x","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`,
				`{"model":"gpt-x","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,"prompt_tokens_details":{"cached_tokens":64}}}`, `[DONE]`),
			Result{Model: "gpt-x", Tokens: Tokens{Input: 36, Output: 20, CacheRead: 64}, Seen: Whole, Tools: []Tool{{"list", listDigest}, {"other", digestOf("[]")}}}},
		"chat events without usage": {OpenAI, sse(`{"model":"m","choices":[{"index":0,"delta":{"content":"hi"}}]}`, `[DONE]`),
			Result{Model: "m", Seen: Unknown}},
		"chat events, two choices": {OpenAI,
			sse(`{"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"a","arguments":"[1"}}]}}]}`,
				`{"model":"m","choices":[{"index":1,"delta":{"tool_calls":[{"index":0,"function":{"name":"b","arguments":"[2"}}]}}]}`,
				`{"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"]"}}]}}]}`,
				`{"model":"m","choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"]"}}]},"index":1}]}`,
				`{"usage":{"prompt_tokens":1,"completion_tokens":2}}`, `[DONE]`),
			Result{Model: "m", Tokens: Tokens{Input: 1, Output: 2}, Seen: Whole, Tools: []Tool{{"a", ""}, {"b", ""}}}},
		"chat, thoughts in the total alone": {OpenAI, `{"model":"grok-x","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":40}}`,
			Result{Model: "grok-x", Tokens: Tokens{Input: 10, Output: 30}, Seen: Whole}},
		"embeddings": {OpenAI, `{"object":"list","data":[{"embedding":[0.1,-2e-3]}],"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}`,
			Result{Model: "e", Tokens: Tokens{Input: 8}, Seen: Whole}},

		"responses JSON": {OpenAI,
			`{"id":"r","object":"response","status":"completed","model":"gpt-x","output":[{"type":"reasoning"},{"type":"function_call","name":"list","namespace":"fs","arguments":"{\"path\":\"/a b\",\"n\":[1,2]}","call_id":"c"},{"type":"local_shell_call","action":{"type":"exec", "command":["ls"]}}],"usage":{"input_tokens":100,"input_tokens_details":{"cached_tokens":30},"output_tokens":20,"output_tokens_details":{"reasoning_tokens":9},"total_tokens":120}}`,
			Result{Model: "gpt-x", Tokens: Tokens{Input: 70, Output: 20, CacheRead: 30}, Seen: Whole, Tools: []Tool{{"fs.list", listDigest}, {"local_shell_call", digestOf(`{"type":"exec","command":["ls"]}`)}}}},
		"responses events": {OpenAI,
			sse(`{"type":"response.created","response":{"id":"r","status":"in_progress","model":"gpt-x","output":[],"usage":null}}`,
				`{"type":"response.output_item.added","output_index":0,"item":{"type":"custom_tool_call","name":"patch","input":""}}`,
				`{"type":"response.custom_tool_call_input.delta","delta":"a b"}`,
				`{"type":"response.output_item.done","output_index":0,"item":{"type":"custom_tool_call","name":"patch","input":"a b"}}`,
				`{"type":"response.completed","response":{"id":"r","status":"completed","model":"gpt-x","output":[{"type":"custom_tool_call","name":"patch","input":"a b"}],"usage":{"input_tokens":100,"output_tokens":20,"total_tokens":120}}}`),
			Result{Model: "gpt-x", Tokens: Tokens{Input: 100, Output: 20}, Seen: Whole, Tools: []Tool{{"patch", digestOf("a b")}}}},
		"responses in the background": {OpenAI, `{"object":"response","status":"queued","model":"gpt-x","output":[],"usage":null}`,
			Result{Model: "gpt-x", Seen: Unknown}},

		"gemini JSON": {Gemini,
			`{"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"name":"list","args":` + list + `}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":10,"thoughtsTokenCount":30,"cachedContentTokenCount":60,"toolUsePromptTokenCount":5,"totalTokenCount":145},"modelVersion":"gemini-x"}`,
			Result{Model: "gemini-x", Tokens: Tokens{Input: 45, Output: 40, CacheRead: 60}, Seen: Whole, Tools: []Tool{{"list", listDigest}}}},
		"gemini list": {Gemini,
			`[{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":100,"totalTokenCount":100},"modelVersion":"gemini-x"}` + "\n,\r\n" +
				`{"candidates":[{"content":{"parts":[{"functionCall":{"args":` + list + `,"name":"list"}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":10,"totalTokenCount":110},"modelVersion":"gemini-x"}]`,
			Result{Model: "gemini-x", Tokens: Tokens{Input: 100, Output: 10}, Seen: Whole, Tools: []Tool{{"list", listDigest}}}},
		"gemini list, cut before the last counts": {Gemini,
			`[{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":3,"totalTokenCount":103}},{"candidates":[{"finishReason":"STOP"}],"usage`,
			Result{Tokens: Tokens{Input: 100, Output: 3}, Seen: Partial}},
		"gemini events": {Gemini,
			strings.ReplaceAll(sse(`{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":100},"modelVersion":"gemini-x"}`,
				`{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":10,"totalTokenCount":110}}`), "\n", "\r\n"),
			Result{Model: "gemini-x", Tokens: Tokens{Input: 100, Output: 10}, Seen: Whole}},
		"gemini, wrapped, without the last blank line": {Gemini,
			strings.TrimRight(sse(`{"response":{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":1,"totalTokenCount":8},"modelVersion":"gemini-x"}}`), "\n"),
			Result{Model: "gemini-x", Tokens: Tokens{Input: 7, Output: 1}, Seen: Whole}},
		"gemini, a blocked prompt": {Gemini, `{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":7,"totalTokenCount":7}}`,
			Result{Tokens: Tokens{Input: 7}, Seen: Whole}},

		// Hosts that lie.
		"a negative count":           {Anthropic, `{"model":"m","usage":{"input_tokens":-5,"output_tokens":3}}`, Result{Model: "m", Tokens: Tokens{Output: 3}, Seen: Partial}},
		"an absurd count":            {Anthropic, `{"model":"m","usage":{"input_tokens":5,"output_tokens":99999999999999999999999999999999999999999}}`, Result{Model: "m", Tokens: Tokens{Input: 5}, Seen: Partial}},
		"a count a little too large": {Anthropic, `{"model":"m","usage":{"input_tokens":5,"output_tokens":1000000001}}`, Result{Model: "m", Tokens: Tokens{Input: 5}, Seen: Partial}},
		"a fraction":                 {OpenAI, `{"usage":{"prompt_tokens":1.5,"completion_tokens":1e3}}`, Result{Seen: Unknown}},
		"a count as text":            {OpenAI, `{"usage":{"prompt_tokens":"1","completion_tokens":2}}`, Result{Tokens: Tokens{Output: 2}, Seen: Partial}},
		"more cached than there is":  {OpenAI, `{"usage":{"prompt_tokens":1,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":50}}}`, Result{Tokens: Tokens{Output: 2, CacheRead: 50}, Seen: Partial}},
		"counts twice":               {Anthropic, `{"usage":{"input_tokens":50,"output_tokens":60},"usage":{"input_tokens":1,"output_tokens":1}}`, Result{Tokens: Tokens{Input: 50, Output: 60}, Seen: Whole}},
		"a name with dots":           {Anthropic, `{"usage.input_tokens":9,"usage":{"output_tokens":1}}`, Result{Tokens: Tokens{Output: 1}, Seen: Partial}},
		"an escaped name":            {Anthropic, `{"us\u0061ge":{"input_tokens":9,"output_tokens":1}}`, Result{Tokens: Tokens{Input: 9, Output: 1}, Seen: Whole}},
		"something behind":           {Anthropic, `{"usage":{"input_tokens":9,"output_tokens":1}} {}`, Result{Tokens: Tokens{Input: 9, Output: 1}, Seen: Partial}},
		"a broken event": {OpenAI, sse(`{"usage":{"prompt_tokens":1,"completion_tokens":2}}`, `{"usage":`, `[DONE]`),
			Result{Tokens: Tokens{Input: 1, Output: 2}, Seen: Partial}},
		"nothing":   {Anthropic, "", Result{Seen: Unknown}},
		"no answer": {Gemini, "<html><body>502</body></html>", Result{Seen: Unknown}},
		"too deep":  {Gemini, strings.Repeat("[", 100_000), Result{Seen: Unknown}},
	}
}

func TestAnswers(t *testing.T) {
	for name, a := range answers() {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(a.want, read(a.api, a.body)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// However the bytes are cut, the same comes out.
func TestChunks(t *testing.T) {
	for name, a := range answers() {
		if len(a.body) > 10_000 {
			continue
		}
		want := read(a.api, a.body)
		for size := 1; size <= 7; size++ {
			r := NewReader(a.api)
			for i := 0; i < len(a.body); i += size {
				_, _ = r.Write([]byte(a.body[i:min(len(a.body), i+size)]))
			}
			if diff := cmp.Diff(want, r.Result()); diff != "" {
				t.Errorf("%s, in pieces of %d: %s", name, size, diff)
			}
		}
	}
}

// What the host sends never decides how much is kept.
func TestBounded(t *testing.T) {
	for name, body := range map[string]func(i int) string{
		"tools": func(i int) string {
			return sse(fmt.Sprintf(`{"type":"content_block_start","index":%d,"content_block":{"type":"tool_use","name":"n","input":{}}}`, i))
		},
		"chat tools": func(i int) string {
			return sse(fmt.Sprintf(`{"choices":[{"index":%d,"delta":{"tool_calls":[{"index":%d,"function":{"name":"n","arguments":"{}"}}]}}]}`, i, i))
		},
		"response item": func(i int) string {
			return sse(`{"type":"response.output_item.done","item":{"type":"function_call","name":"n","arguments":"{}"}}`)
		},
		"gemini calls": func(i int) string {
			return sse(`{"candidates":[{"content":{"parts":[{"functionCall":{"name":"n","args":{}}}]}}]}`)
		},
	} {
		api := OpenAI
		switch name {
		case "tools":
			api = Anthropic
		case "gemini calls":
			api = Gemini
		}
		r := NewReader(api)
		for i := range 1000 {
			_, _ = r.Write([]byte(body(i)))
		}
		if res := r.Result(); len(res.Tools) != maxTools || res.ToolsBeyond < 1000-maxTools {
			t.Errorf("%s: %d kept, %d beyond", name, len(res.Tools), res.ToolsBeyond)
		}
	}
	deep := NewReader(Gemini)
	_, _ = deep.Write([]byte(strings.Repeat("[", 1<<20)))
	if n := cap(deep.json.stack); n > 2*maxDepth {
		t.Errorf("%d levels are kept", n)
	}
	// A name, a text and a line without an end: what is kept stays small.
	for _, start := range []string{`{"model":"`, `{"`, "data: {\"delta\":{\"partial_json\":\"", "event: ", `{"usage":{"input_tokens":1`, "x"} {
		r := NewReader(Anthropic)
		_, _ = r.Write([]byte(start))
		piece := []byte(strings.Repeat("1", 1<<16))
		for range 64 {
			_, _ = r.Write(piece)
		}
		if n := cap(r.json.key) + cap(r.json.path) + cap(r.json.scalar) + cap(r.head) + cap(r.events.field) + cap(r.c.(*anthropic).model.b); n > 4<<10 {
			t.Errorf("%q: %d bytes are kept", start, n)
		}
	}
}

// Each message is an event, and one response follows the other.
func TestSocket(t *testing.T) {
	var got []Result
	s := NewSocketReader(func(r Result) { got = append(got, r) })
	done := func(n string) string {
		return `{"type":"response.completed","response":{"model":"gpt-x","output":[],"usage":{"input_tokens":10,"output_tokens":` + n + `}}}`
	}
	for _, m := range []string{
		`{"type":"response.created","response":{"model":"gpt-x","usage":null}}`,
		`{"type":"response.output_item.done","item":{"type":"function_call","name":"a","arguments":"{}"}}`,
		done("5"), "no JSON", done("7"), `{"type":"response.created","response":{"model":"gpt-y"}}`,
	} {
		for i := range m {
			s.Text([]byte{m[i]})
		}
		s.End()
	}
	s.Close()
	want := []Result{
		{Model: "gpt-x", Tokens: Tokens{Input: 10, Output: 5}, Seen: Whole, Tools: []Tool{{"a", digestOf("{}")}}},
		{Model: "gpt-x", Tokens: Tokens{Input: 10, Output: 7}, Seen: Partial}, // something in between was not understood
		{Model: "gpt-y", Seen: Unknown},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRequests(t *testing.T) {
	for body, want := range map[string]Request{
		`{"model":"claude-x","max_tokens":32000,"messages":[{"role":"user","content":"the \"model\": no"}]}`: {Model: "claude-x", MaxOutput: 32000, Choices: 1},
		`{"messages":[{"model":"inner"}],"model":"gpt-x","n":3,"max_completion_tokens":10}`:                  {Model: "gpt-x", MaxOutput: 10, Choices: 3},
		`{"model":"gemini-x","request":{"generationConfig":{"maxOutputTokens":5}}}`:                          {Model: "gemini-x", MaxOutput: 5, Choices: 1},
		`{"model":"gpt-x","background":true}`:                                                                {Model: "gpt-x", Choices: 1, Background: true},
		`{"model":"cheap","model":"dear"}`:                                                                   {Model: "cheapdear", Choices: 1, Unclear: "the request names its model twice"},
		`{"model":"cheap","Model":"dear"}`:                                                                   {Model: "cheap", Choices: 1, Unclear: "the request names its model twice"},
		`{"model":"cheap","\u006dodel":"dear"}`:                                                              {Model: "cheapdear", Choices: 1, Unclear: "the request names its model twice"},
		`{"model":"m","max_tokens":-1}`:                                                                      {Model: "m", Choices: 1, Unclear: "a number of the request is none"},
		`{"messages":[]}`:                                                                                    {Choices: 1, Unclear: "the request names no model"},
		`{"model":null}`:                                                                                     {Choices: 1, Unclear: "the request names no model"},
		`{"model":"m"`:                                                                                       {Model: "m", Choices: 1, Unclear: "the request's body is no JSON"},
		`{"model":"m"}{"model":"n"}`:                                                                         {Model: "m", Choices: 1, Unclear: "the request's body is no JSON"},
		``:                                                                                                   {Choices: 1, Unclear: "the request's body is no JSON"},
		`{"model":"` + strings.Repeat("m", 200) + `"}`:                                                       {Model: strings.Repeat("m", maxName) + "…", Choices: 1, Unclear: "the name of the request's model is too long"},
	} {
		r := NewRequestReader()
		for i := range body { // byte by byte
			_, _ = r.Write([]byte{body[i]})
		}
		got := r.Result("")
		got.Text = 0 // see TestRequestText
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", body, diff)
		}
	}
	r := NewRequestReader()
	_, _ = r.Write([]byte(`{"contents":[]}`))
	if got := r.Result("gemini-x"); got.Model != "gemini-x" || got.Unclear != "" {
		t.Errorf("the path's model: %+v", got)
	}
}

// What is reserved before a call is estimated by the text; images are none.
func TestRequestText(t *testing.T) {
	image := strings.Repeat("aGVsbG8g", 4096)
	prose := strings.Repeat("a word ", 4096)
	r := NewRequestReader()
	_, _ = r.Write([]byte(`{"model":"m","image":"` + image + `","text":"` + prose + `"}`))
	if got, want := r.Result("").Text, int64(len("m")+len(prose)); got != want {
		t.Errorf("%d bytes of text, want %d", got, want)
	}
	for body, want := range map[string]string{
		`{"model":"m","speed":"fast"}`:                                  "speed",
		`{"model":"m","service_tier":"priority"}`:                       "service_tier",
		`{"model":"m","inference_geo":"us"}`:                            "inference_geo",
		`{"model":"m","service_tier":"flex","speed":"standard"}`:        "",
		`{"model":"m","service_tier":"auto","service_tier":"priority"}`: "service_tier",
	} {
		r := NewRequestReader()
		_, _ = r.Write([]byte(body))
		if got := r.Result("").Dearer; got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}

func TestClassify(t *testing.T) {
	type result struct {
		API   API
		Cost  Cost
		Model string
	}
	for _, c := range []struct {
		method, path string
		upgrade      bool
		want         result
	}{
		{"POST", "/v1/messages", false, result{Anthropic, Metered, ""}},
		{"POST", "/v1/messages/count_tokens", false, result{"", Free, ""}},
		{"POST", "/v1/messages/batches", false, result{"", Unmetered, ""}},
		{"POST", "/v1/complete", false, result{"", Unmetered, ""}},
		{"POST", "/v1/chat/completions", false, result{OpenAI, Metered, ""}},
		{"POST", "/v1/responses", false, result{OpenAI, Metered, ""}},
		{"GET", "/v1/responses", true, result{OpenAI, Metered, ""}},
		{"GET", "/v1/realtime", true, result{"", Unmetered, ""}},
		{"POST", "/v1/responses/r1/cancel", false, result{"", Free, ""}},
		{"POST", "/v1/images/generations", false, result{"", Unmetered, ""}},
		{"POST", "/v1/batches", false, result{"", Unmetered, ""}},
		{"PUT", "/v1/messages", false, result{"", Unmetered, ""}},
		{"GET", "/v1/models", false, result{"", Free, ""}},
		{"POST", "/openai/deployments/ours/chat/completions", false, result{OpenAI, Metered, "ours"}},
		{"POST", "/v1beta/models/gemini-x:generateContent", false, result{Gemini, Metered, "gemini-x"}},
		{"POST", "/v1beta/models/gemini-x:streamGenerateContent", false, result{Gemini, Metered, "gemini-x"}},
		{"POST", "/v1beta/models/gemini-x:countTokens", false, result{"", Free, ""}},
		{"POST", "/v1beta/models/gemini-x:batchGenerateContent", false, result{"", Unmetered, ""}},
		{"POST", "/v1internal:streamGenerateContent", false, result{Gemini, Metered, ""}},
		{"POST", "/v1beta/openai/chat/completions", false, result{OpenAI, Metered, ""}},
		{"POST", "/v1/projects/p/locations/l/publishers/anthropic/models/claude-x@1:streamRawPredict", false, result{Anthropic, Metered, "claude-x@1"}},
	} {
		api, cost, model := Classify(c.method, c.path, c.upgrade)
		if got := (result{api, cost, model}); got != c.want {
			t.Errorf("%s %s: %v, want %v", c.method, c.path, got, c.want)
		}
	}
}
