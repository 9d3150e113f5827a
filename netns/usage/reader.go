package usage

// API is a way in which a provider's models are asked, whoever runs them.
type API string

// The APIs that are read.
const (
	Anthropic API = "anthropic" // Messages
	OpenAI    API = "openai"    // Chat Completions, Completions, Embeddings, Responses
	Gemini    API = "gemini"    // generateContent, streamGenerateContent
)

// collector is what one API's values are put together by.
type collector interface {
	visitor
	begin() // an event or message begins
	done()  // and is over; it was whole
	result() (t Tokens, model string, tools *tools, seen, ok, over bool)
}

func newCollector(a API) collector {
	switch a {
	case Anthropic:
		return &anthropic{}
	case Gemini:
		return &gemini{}
	}
	return &openAI{}
}

type form byte

const (
	formUnknown form = iota
	formJSON
	formEvents
)

// Reader reads one answer.
type Reader struct {
	form   form
	c      collector
	json   *scanner
	events events

	head   []byte // of an event, as far as it may still be doneMark
	began  bool   // some of an event came
	told   bool   // and it is not doneMark
	marked bool   // doneMark came
	torn   bool   // an event was no JSON
}

// doneMark ends a stream of OpenAI's.
const doneMark = "[DONE]"

// NewReader makes a reader for an answer of an API.
func NewReader(a API) *Reader {
	r := &Reader{c: newCollector(a)}
	r.json = newScanner(r.c)
	r.events = events{data: r.data, over: r.dispatch}
	return r
}

// Write takes the next bytes of the answer, decoded. It never fails.
//
// Whether they are JSON or events is told from the first of them, and not from what
// the host calls them: a client may take them for either.
func (r *Reader) Write(p []byte) (int, error) {
	n := len(p)
	if r.form == formUnknown {
		for len(p) > 0 && (isSpace(p[0]) || p[0] == 0xef || p[0] == 0xbb || p[0] == 0xbf) { // a byte order mark
			p = p[1:]
		}
		if len(p) == 0 {
			return n, nil
		}
		if p[0] == '{' || p[0] == '[' {
			r.form = formJSON
			r.c.begin()
		} else {
			r.form = formEvents
		}
	}
	switch r.form {
	case formJSON:
		r.json.write(p)
	case formEvents:
		r.events.write(p)
	}
	return n, nil
}

// data takes a piece of an event's data.
func (r *Reader) data(p []byte) {
	if !r.began {
		r.began = true
		r.c.begin()
	}
	for !r.told && len(p) > 0 {
		if n := len(r.head); n < len(doneMark) && p[0] == doneMark[n] {
			r.head, p = append(r.head, p[0]), p[1:]
			continue
		}
		r.told = true
		r.json.write(r.head)
	}
	r.json.write(p)
}

// dispatch ends an event.
func (r *Reader) dispatch() {
	r.json.end()
	switch {
	case !r.told && string(r.head) == doneMark:
		r.marked = true
	case r.told && r.json.whole():
		r.c.done()
	case r.began:
		r.torn = true
	}
	r.json.reset()
	r.head, r.began, r.told = r.head[:0], false, false
}

// Result is what the answer said. It is asked for once, after the last Write.
func (r *Reader) Result() Result {
	complete := false
	switch r.form {
	case formJSON:
		r.json.end()
		complete = r.json.whole()
		if complete {
			r.c.done()
		}
	case formEvents:
		r.events.end()
	}
	t, model, tools, seen, ok, over := r.c.result()
	res := Result{Model: model, Tokens: t, Tools: tools.result(), ToolsBeyond: tools.beyond, Seen: Partial}
	switch {
	case t == (Tokens{}) && !seen:
		res.Seen = Unknown
	case seen && ok && !r.torn && (complete || over || r.marked):
		res.Seen = Whole
	}
	return res
}
