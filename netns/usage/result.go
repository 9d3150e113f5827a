package usage

import "strings"

// Tokens is what a call used. The four counts are of different tokens: what was read
// from a cache or written to one is not in Input.
type Tokens struct {
	Input      int64 `json:"input"`
	Output     int64 `json:"output"`
	CacheRead  int64 `json:"cache_read"`
	CacheWrite int64 `json:"cache_write"`
	// CacheWriteLong is the part of CacheWrite that is kept for an hour, which
	// Anthropic charges at another price.
	CacheWriteLong int64 `json:"cache_write_long,omitempty"`
}

// Total is all tokens.
func (t Tokens) Total() int64 { return t.Input + t.Output + t.CacheRead + t.CacheWrite }

// Prompt is the tokens of the request.
func (t Tokens) Prompt() int64 { return t.Input + t.CacheRead + t.CacheWrite }

// Seen says how much of a call's usage the answer told.
type Seen string

// What was seen. Partial counts are the least that the call used.
const (
	Whole   Seen = "whole"
	Partial Seen = "partial" // the answer was cut off, or contradicts itself
	Unknown Seen = "unknown"
)

// Tool is one use of a tool that the model asked for.
type Tool struct {
	Name   string `json:"name"`
	Digest string `json:"digest,omitempty"` // SHA-256 of the arguments, hex; "" where they are unknown
}

// Result is what an answer said.
type Result struct {
	Model       string `json:"model,omitempty"` // as the host names it
	Tokens      Tokens `json:"tokens"`
	Seen        Seen   `json:"seen"`
	Tools       []Tool `json:"tools,omitempty"`
	ToolsBeyond int    `json:"tools_beyond,omitempty"` // how many more there were than maxTools
}

// maxTokens is more than any model takes or gives in one call (the largest context
// windows have 10 million): a larger count is none.
const maxTokens = 1_000_000_000

// count is one number of an answer.
type count struct {
	n    int64
	seen bool
	bad  bool
}

// take reads a number. Of several the largest holds: those of a stream grow.
func (c *count) take(b []byte) {
	if string(b) == "null" {
		return
	}
	n := int64(0)
	for _, d := range b {
		if d < '0' || d > '9' || n > maxTokens {
			c.bad = true
			return
		}
		n = n*10 + int64(d-'0')
	}
	if n > maxTokens {
		c.bad = true
		return
	}
	c.n, c.seen = max(c.n, n), true
}

// The numbers that answers have. What the input count covers differs, see totals.
type field int

const (
	fieldInput field = iota
	fieldOutput
	fieldTotal
	fieldCacheRead
	fieldCacheWrite
	fieldCacheWriteLong
	fieldThoughts // Gemini: output beside fieldOutput
	fieldToolUse  // Gemini: input beside fieldInput
	fields
)

type counts [fields]count

func (c *counts) bad() bool {
	for _, f := range c {
		if f.bad {
			return true
		}
	}
	return false
}

// separate is for Anthropic's answers, whose input tokens are those that no cache had
// to do with. ok is false where the numbers can't be true together.
func (c *counts) separate() (t Tokens, seen, ok bool) {
	t = Tokens{
		Input: c[fieldInput].n, Output: c[fieldOutput].n, CacheRead: c[fieldCacheRead].n,
		CacheWrite: c[fieldCacheWrite].n, CacheWriteLong: c[fieldCacheWriteLong].n,
	}
	ok = !c.bad() && t.CacheWriteLong <= t.CacheWrite
	t.CacheWriteLong = min(t.CacheWriteLong, t.CacheWrite)
	return t, c[fieldInput].seen && c[fieldOutput].seen, ok
}

// inclusive is for the others, whose input tokens include those of the cache.
//
// A total above the parts is output: xAI counts a model's thoughts in the total alone,
// and Gemini leaves out a count of zero.
func (c *counts) inclusive() (t Tokens, seen, ok bool) {
	input, output := c[fieldInput].n+c[fieldToolUse].n, c[fieldOutput].n+c[fieldThoughts].n
	t = Tokens{CacheRead: c[fieldCacheRead].n, CacheWrite: c[fieldCacheWrite].n}
	cached := t.CacheRead + t.CacheWrite
	ok = !c.bad() && cached <= input
	t.Input = max(0, input-cached)
	t.Output = max(output, c[fieldTotal].n-input)
	return t, c[fieldInput].seen && (c[fieldOutput].seen || c[fieldTotal].seen), ok
}

// maxName is the longest name of a model or a tool that is kept whole.
const maxName = 128

// name is a name that comes in pieces.
type name struct {
	b   []byte
	cut bool
}

func (n *name) add(b []byte) {
	if len(n.b)+len(b) > maxName {
		b, n.cut = b[:maxName-len(n.b)], true
	}
	n.b = append(n.b, b...)
}

func (n *name) String() string {
	s := strings.ToValidUTF8(string(n.b), "")
	if n.cut {
		s += "…"
	}
	return s
}

// maxTools bounds the tools that are kept of one answer.
const maxTools = 128

// toolKey tells the tools of one answer apart while their arguments come in pieces.
type toolKey struct{ choice, index int64 }

type pendingTool struct {
	name  name
	args  *digest // what came in pieces
	whole *digest // what came at once
}

// tools are those of one answer, in the order in which they began.
type tools struct {
	list   []*pendingTool
	byKey  map[toolKey]*pendingTool
	beyond int
}

// add begins a tool; nil where there are too many.
func (t *tools) add() *pendingTool {
	if len(t.list) >= maxTools {
		t.beyond++
		return nil
	}
	p := &pendingTool{}
	t.list = append(t.list, p)
	return p
}

// get finds the tool of a key, and begins it where there is none.
func (t *tools) get(k toolKey, begins bool) *pendingTool {
	p := t.byKey[k]
	if p != nil || !begins {
		return p
	}
	if p = t.add(); p == nil {
		return nil
	}
	if t.byKey == nil {
		t.byKey = map[toolKey]*pendingTool{}
	}
	t.byKey[k] = p
	return p
}

func (t *tools) result() (list []Tool) {
	for _, p := range t.list {
		d := p.args.sum()
		if p.args == nil || !p.args.any && !p.args.torn {
			d = p.whole.sum()
		}
		list = append(list, Tool{Name: p.name.String(), Digest: d})
	}
	return list
}
