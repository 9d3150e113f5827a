package usage

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkEvents is the cost of reading a stream of answers along: 500 pieces of text
// of 40 bytes each, as a model sends them, in chunks of one event.
func BenchmarkEvents(b *testing.B) {
	for name, stream := range map[API]struct{ first, piece, last string }{
		Anthropic: {`{"type":"message_start","message":{"id":"m","type":"message","model":"claude-x","content":[],"usage":{"input_tokens":25,"output_tokens":1}}}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}`,
			`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":500}}`},
		OpenAI: {`{"id":"c","object":"chat.completion.chunk","model":"gpt-x","choices":[{"index":0,"delta":{"role":"assistant"}}]}`,
			`{"id":"c","object":"chat.completion.chunk","model":"gpt-x","choices":[{"index":0,"delta":{"content":"%s"}}]}`,
			`{"id":"c","object":"chat.completion.chunk","model":"gpt-x","choices":[],"usage":{"prompt_tokens":25,"completion_tokens":500}}`},
		Gemini: {`{"candidates":[{"content":{"parts":[{"text":""}],"role":"model"}}],"modelVersion":"gemini-x"}`,
			`{"candidates":[{"content":{"parts":[{"text":"%s"}],"role":"model"}}]}`,
			`{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":25,"candidatesTokenCount":500}}`},
	} {
		b.Run(fmt.Sprint(name), func(b *testing.B) {
			chunks := [][]byte{[]byte(sse(stream.first))}
			for range 500 {
				chunks = append(chunks, []byte(sse(fmt.Sprintf(stream.piece, strings.Repeat("word ", 8)))))
			}
			chunks = append(chunks, []byte(sse(stream.last)))
			size := 0
			for _, c := range chunks {
				size += len(c)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				r := NewReader(name)
				for _, c := range chunks {
					_, _ = r.Write(c)
				}
				if got := r.Result(); got.Tokens.Output != 500 {
					b.Fatalf("%+v", got)
				}
			}
		})
	}
}
