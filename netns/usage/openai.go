package usage

import (
	"bytes"
	"strconv"
	"strings"
)

// openAI reads Chat Completions and what has its shape (Completions, Embeddings), and
// the Responses API: as JSON, as events, and as the messages of a WebSocket, which are
// the same events.
type openAI struct {
	counts counts
	model  name
	tools  tools
	over   bool // a response was finished with

	typ name // of the event

	// A choice of a chat, and the tool that is being read in it.
	choice, index int64
	choices       int64 // that began in this event
	calls         int64 // that began in this choice
	call          openAICall
	used          toolKey

	item  openAIItem // of a response
	items []openAIItem
	gone  int // items beyond maxTools
	taken int // items whose own event came
}

type openAICall struct {
	name  name
	begun bool // some of its arguments were put somewhere
	named bool
	moved bool // and then it turned out to be another
}

type openAIItem struct {
	typ, name, space name
	args             *digest
}

func (o *openAI) begin() {
	o.typ, o.choice, o.index, o.choices, o.calls = name{}, 0, 0, 0, 0
	o.item, o.items, o.gone = openAIItem{}, nil, 0
}

// openAIPath leaves out what an answer may be wrapped in.
func openAIPath(path []byte) string {
	return string(bytes.TrimPrefix(path, []byte("response.")))
}

func openAICount(path string) (field, bool) {
	path = strings.TrimPrefix(path, "x_groq.") // Groq's streams
	switch path {
	case "usage.prompt_tokens", "usage.input_tokens":
		return fieldInput, true
	case "usage.completion_tokens", "usage.output_tokens":
		return fieldOutput, true
	case "usage.total_tokens":
		return fieldTotal, true
	case "usage.prompt_tokens_details.cached_tokens", "usage.input_tokens_details.cached_tokens",
		"usage.prompt_cache_hit_tokens": // DeepSeek
		return fieldCacheRead, true
	case "usage.prompt_tokens_details.cache_write_tokens", "usage.input_tokens_details.cache_write_tokens":
		return fieldCacheWrite, true
	}
	return 0, false
}

func (o *openAI) scalar(path, b []byte) {
	p := openAIPath(path)
	if f, ok := openAICount(p); ok {
		o.counts[f].take(b)
		return
	}
	n, err := strconv.ParseInt(string(b), 10, 32)
	switch {
	case err != nil:
	case p == "choices.#.index":
		o.place(n, o.index)
	case p == "choices.#.delta.tool_calls.#.index":
		o.place(o.choice, n)
	}
}

// place says which tool the pieces belong to. Where some came before that was said, and
// were put to another one, its arguments can't be told any more.
func (o *openAI) place(choice, index int64) {
	if choice != o.choice && o.calls > 0 {
		for k, p := range o.tools.byKey {
			if (k.choice == o.choice || k.choice == choice) && p.args != nil {
				p.args.torn = true
			}
		}
	}
	o.choice, o.index = choice, index
	if o.call.begun && o.used != (toolKey{choice, index}) {
		o.call.moved = true
		if p := o.tools.get(o.used, false); p != nil && p.args != nil {
			p.args.torn = true
		}
	}
}

func (o *openAI) open(path []byte, k kind) {
	p := openAIPath(path)
	if f, ok := openAICount(p); ok {
		o.counts[f].bad = true
	}
	switch p {
	case "model":
		o.model = name{}
	case "choices.#":
		o.choice, o.index, o.calls = o.choices, 0, 0
		o.choices++
	case "choices.#.delta.tool_calls.#":
		o.index, o.call = o.calls, openAICall{}
		o.calls++
	case "choices.#.delta.function_call":
		o.index, o.call = 0, openAICall{}
	case "choices.#.message.tool_calls.#", "choices.#.message.function_call", "output.#", "item":
		o.item = openAIItem{}
	case "choices.#.message.tool_calls.#.function.arguments", "choices.#.message.function_call.arguments",
		"output.#.arguments", "item.arguments":
		o.item.args = newDigest(false)
	case "choices.#.message.tool_calls.#.custom.input", "output.#.input", "item.input":
		o.item.args = newDigest(true)
	}
}

func (o *openAI) wants(path []byte) *digest {
	switch openAIPath(path) {
	case "output.#.action", "item.action", "output.#.operation", "item.operation":
		o.item.args = newDigest(false)
		return o.item.args
	}
	return nil
}

func (o *openAI) part(path, b []byte) {
	switch openAIPath(path) {
	case "model":
		o.model.add(b)
	case "type":
		o.typ.add(b)
	case "choices.#.delta.tool_calls.#.function.name", "choices.#.delta.tool_calls.#.custom.name", "choices.#.delta.function_call.name":
		o.call.name.add(b)
		o.call.named = true
	case "choices.#.delta.tool_calls.#.function.arguments", "choices.#.delta.function_call.arguments":
		o.piece(b, false)
	case "choices.#.delta.tool_calls.#.custom.input":
		o.piece(b, true)
	case "choices.#.message.tool_calls.#.function.name", "choices.#.message.tool_calls.#.custom.name",
		"choices.#.message.function_call.name", "output.#.name", "item.name":
		o.item.name.add(b)
	case "output.#.namespace", "item.namespace":
		o.item.space.add(b)
	case "output.#.type", "item.type":
		o.item.typ.add(b)
	case "choices.#.message.tool_calls.#.function.arguments", "choices.#.message.function_call.arguments",
		"choices.#.message.tool_calls.#.custom.input",
		"output.#.arguments", "item.arguments", "output.#.input", "item.input":
		if o.item.args != nil {
			o.item.args.write(b)
		}
	}
}

// piece takes some of a streamed tool's arguments.
func (o *openAI) piece(b []byte, plain bool) {
	if len(b) == 0 {
		return
	}
	k := toolKey{o.choice, o.index}
	p := o.tools.get(k, true)
	if p == nil {
		return
	}
	if p.args == nil {
		p.args = newDigest(plain)
	}
	p.args.write(b)
	o.call.begun, o.used = true, k
}

func (o *openAI) close(path []byte, k kind) {
	switch openAIPath(path) {
	case "choices.#.delta.tool_calls.#", "choices.#.delta.function_call":
		if o.call.named {
			if p := o.tools.get(toolKey{o.choice, o.index}, true); p != nil && len(p.name.b) == 0 {
				p.name = o.call.name
			}
		}
		if o.call.moved {
			if p := o.tools.get(toolKey{o.choice, o.index}, false); p != nil {
				if p.args == nil {
					p.args = newDigest(false)
				}
				p.args.torn = true
			}
		}
		o.call = openAICall{}
	case "choices.#.message.tool_calls.#", "choices.#.message.function_call":
		if p := o.tools.add(); p != nil {
			p.name, p.whole = o.item.name, o.item.args
		}
	case "output.#":
		if !o.item.isTool() {
			return
		}
		if len(o.items) >= maxTools {
			o.gone++
			return
		}
		o.items = append(o.items, o.item)
	}
}

// isTool covers the caller's tools (function_call, custom_tool_call, local_shell_call)
// and those that run at the provider's (web_search_call, mcp_call).
func (i *openAIItem) isTool() bool { return strings.HasSuffix(i.typ.String(), "_call") }

func (i *openAIItem) tool(p *pendingTool) {
	if p == nil {
		return
	}
	p.name, p.whole = i.name, i.args
	switch {
	case len(i.name.b) == 0:
		p.name = i.typ
	case len(i.space.b) > 0:
		p.name = name{}
		p.name.add(i.space.b)
		p.name.add([]byte{'.'})
		p.name.add(i.name.b)
	}
}

func (o *openAI) done() {
	switch o.typ.String() {
	case "response.output_item.done":
		if o.item.isTool() {
			o.taken++
			o.item.tool(o.tools.add())
		}
		return
	case "response.completed", "response.incomplete", "response.failed":
		o.over = true
	case "":
		// a whole answer, or a piece of a chat
	default:
		return // response.created and in_progress repeat what is there so far
	}
	if o.taken == 0 { // else each had an event of its own
		for i := range o.items {
			o.items[i].tool(o.tools.add())
		}
		o.tools.beyond += o.gone
	}
}

func (o *openAI) result() (Tokens, string, *tools, bool, bool, bool) {
	t, seen, ok := o.counts.inclusive()
	return t, o.model.String(), &o.tools, seen, ok, o.over
}
