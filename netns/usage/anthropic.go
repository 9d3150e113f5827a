package usage

import "strconv"

// anthropic reads the Messages API: a message, or the events message_start,
// content_block_start, content_block_delta, message_delta and message_stop. The
// counts of message_delta are those of the whole message so far.
type anthropic struct {
	counts counts
	model  name
	tools  tools
	final  bool // the counts of message_delta came
	over   bool

	block anthropicBlock
	typ   name // of the event
	index int64
	told  bool // the event's index came
	last  int64
	used  *pendingTool // whose arguments came before the event's index
}

// anthropicBlock is a block of content.
type anthropicBlock struct {
	typ, name name
	input     *digest
}

func (a *anthropic) begin() {
	a.block, a.typ, a.index, a.told, a.used = anthropicBlock{}, name{}, 0, false, nil
}

func anthropicCount(path string) (field, bool) {
	switch path {
	case "usage.input_tokens", "message.usage.input_tokens":
		return fieldInput, true
	case "usage.output_tokens", "message.usage.output_tokens":
		return fieldOutput, true
	case "usage.cache_read_input_tokens", "message.usage.cache_read_input_tokens":
		return fieldCacheRead, true
	case "usage.cache_creation_input_tokens", "message.usage.cache_creation_input_tokens":
		return fieldCacheWrite, true
	case "usage.cache_creation.ephemeral_1h_input_tokens", "message.usage.cache_creation.ephemeral_1h_input_tokens":
		return fieldCacheWriteLong, true
	}
	return 0, false
}

func (a *anthropic) scalar(path, b []byte) {
	if f, ok := anthropicCount(string(path)); ok {
		a.counts[f].take(b)
		a.final = a.final || string(path) == "usage.output_tokens"
		return
	}
	if string(path) == "index" {
		if n, err := strconv.ParseInt(string(b), 10, 32); err == nil {
			a.index, a.told = n, true
		}
	}
}

func (a *anthropic) open(path []byte, k kind) {
	if f, ok := anthropicCount(string(path)); ok {
		a.counts[f].bad = true // no number at all
	}
	switch string(path) {
	case "model", "message.model":
		a.model = name{}
	case "content.#", "content_block":
		a.block = anthropicBlock{}
	}
}

func (a *anthropic) wants(path []byte) *digest {
	switch string(path) {
	case "content.#.input", "content_block.input":
		a.block.input = newDigest(false)
		return a.block.input
	}
	return nil
}

func (a *anthropic) part(path, b []byte) {
	switch string(path) {
	case "model", "message.model":
		a.model.add(b)
	case "type":
		a.typ.add(b)
	case "content.#.type", "content_block.type":
		a.block.typ.add(b)
	case "content.#.name", "content_block.name":
		a.block.name.add(b)
	case "delta.partial_json":
		index := a.index
		if !a.told {
			index = a.last
		}
		if p := a.tools.get(toolKey{0, index}, false); p != nil {
			if p.args == nil {
				p.args = newDigest(false)
			}
			p.args.write(b)
			if !a.told {
				a.used = p
			}
		}
	}
}

func (a *anthropic) close(path []byte, k kind) {
	if string(path) == "content.#" && a.block.isTool() {
		if p := a.tools.add(); p != nil {
			p.name, p.whole = a.block.name, a.block.input
		}
	}
}

// isTool covers the caller's tools and those that run at the provider's
// (server_tool_use, mcp_tool_use): the model asked for each.
func (b *anthropicBlock) isTool() bool {
	switch b.typ.String() {
	case "tool_use", "server_tool_use", "mcp_tool_use":
		return true
	}
	return false
}

func (a *anthropic) done() {
	if a.used != nil && a.told && a.tools.get(toolKey{0, a.index}, false) != a.used {
		a.used.args.torn = true
	}
	switch a.typ.String() {
	case "content_block_start":
		a.last = a.index
		if a.block.isTool() {
			if p := a.tools.get(toolKey{0, a.index}, true); p != nil && p.whole == nil && len(p.name.b) == 0 {
				p.name, p.whole = a.block.name, a.block.input
			}
		}
	case "message_stop":
		a.over = true
	}
}

func (a *anthropic) result() (Tokens, string, *tools, bool, bool, bool) {
	t, seen, ok := a.counts.separate()
	return t, a.model.String(), &a.tools, seen, ok, a.over && a.final
}
