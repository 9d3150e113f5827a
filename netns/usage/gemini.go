package usage

import "bytes"

// gemini reads generateContent: an answer, a list of answers, or a stream of them. Each
// has the counts so far. Code Assist wraps each in {"response": ...}.
type gemini struct {
	counts  counts
	model   name
	tools   tools
	ending  bool // a candidate or the prompt was finished with
	over    bool // and so was the answer that says so
	pending *pendingTool
}

func (g *gemini) begin() {}

func geminiPath(path []byte) string {
	path = bytes.TrimPrefix(path, []byte("#."))
	return string(bytes.TrimPrefix(path, []byte("response.")))
}

func geminiCount(path string) (field, bool) {
	switch path {
	case "usageMetadata.promptTokenCount":
		return fieldInput, true
	case "usageMetadata.candidatesTokenCount":
		return fieldOutput, true
	case "usageMetadata.totalTokenCount":
		return fieldTotal, true
	case "usageMetadata.cachedContentTokenCount":
		return fieldCacheRead, true
	case "usageMetadata.thoughtsTokenCount":
		return fieldThoughts, true
	case "usageMetadata.toolUsePromptTokenCount":
		return fieldToolUse, true
	}
	return 0, false
}

const geminiCall = "candidates.#.content.parts.#.functionCall"

func (g *gemini) scalar(path, b []byte) {
	if f, ok := geminiCount(geminiPath(path)); ok {
		g.counts[f].take(b)
	}
}

func (g *gemini) open(path []byte, k kind) {
	p := geminiPath(path)
	if f, ok := geminiCount(p); ok {
		g.counts[f].bad = true
	}
	switch p {
	case "modelVersion":
		g.model = name{}
	case geminiCall:
		if k == object {
			g.pending = &pendingTool{}
		}
	case "candidates.#.finishReason", "promptFeedback.blockReason":
		g.ending = true
	}
}

func (g *gemini) wants(path []byte) *digest {
	if g.pending != nil && geminiPath(path) == geminiCall+".args" {
		g.pending.whole = newDigest(false)
		return g.pending.whole
	}
	return nil
}

func (g *gemini) part(path, b []byte) {
	switch geminiPath(path) {
	case "modelVersion":
		g.model.add(b)
	case geminiCall + ".name":
		if g.pending != nil {
			g.pending.name.add(b)
		}
	}
}

func (g *gemini) close(path []byte, k kind) {
	if string(path) == "#" { // of a list of answers
		g.done()
	}
	if g.pending == nil || geminiPath(path) != geminiCall {
		return
	}
	if p := g.tools.add(); p != nil {
		*p = *g.pending
	}
	g.pending = nil
}

// done is behind an answer: what comes after the reason in it, the counts, has come too.
func (g *gemini) done() { g.over = g.over || g.ending }

func (g *gemini) result() (Tokens, string, *tools, bool, bool, bool) {
	t, seen, ok := g.counts.inclusive()
	return t, g.model.String(), &g.tools, seen, ok, g.over
}
