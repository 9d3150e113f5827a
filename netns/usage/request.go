package usage

import (
	"bytes"
	"slices"
	"strings"
)

// Request is what a request for a model says about itself.
type Request struct {
	Model     string
	MaxOutput int64 // of one choice; 0 where it does not say
	Choices   int64 // at least 1

	// Background is a response that goes on after its answer is over, which then says
	// nothing of what it costs.
	Background bool

	// Dearer names what asks for a tier whose tokens cost more than the usual; "" where
	// nothing does.
	Dearer string

	// Text is how many bytes of text the request has. What is long and has no space in
	// it, as images and files have, is not in it.
	Text int64

	// Unclear says why it can't be told which model is asked; "" where it can.
	Unclear string
}

// RequestReader reads a request's body as it passes, as a Reader reads an answer.
type RequestReader struct {
	json *scanner
	v    requestVisitor
}

// NewRequestReader makes a reader for one request's body.
func NewRequestReader() *RequestReader {
	r := &RequestReader{}
	r.json = newScanner(&r.v)
	return r
}

// Write takes the next bytes of the body, decoded. It never fails.
func (r *RequestReader) Write(p []byte) (int, error) {
	r.json.write(p)
	return len(p), nil
}

// Result is what the body said. pathModel is the model that the path names, "" for
// none; it wins, since servers look there.
func (r *RequestReader) Result(pathModel string) Request {
	r.json.end()
	q := Request{Model: r.v.model.String(), MaxOutput: r.v.output.n, Choices: max(1, r.v.choices.n), Background: r.v.background, Dearer: r.v.dearer(), Text: r.v.text}
	if pathModel != "" {
		q.Model = pathModel
	}
	switch {
	case !r.json.whole():
		q.Unclear = "the request's body is no JSON"
	case r.v.twice && pathModel == "":
		q.Unclear = "the request names its model twice"
	case r.v.model.cut && pathModel == "", len(pathModel) > maxName:
		q.Unclear = "the name of the request's model is too long"
	case r.v.output.bad, r.v.choices.bad:
		q.Unclear = "a number of the request is none"
	case q.Model == "":
		q.Unclear = "the request names no model"
	}
	return q
}

type requestVisitor struct {
	model      name
	named      bool
	twice      bool
	output     count
	choices    count
	background bool
	tiers      map[string]*name

	text   int64
	length int64 // of the text that is being read
	spaced bool
}

// maxWord is longer than what stands between two spaces in a text.
const maxWord = 8 << 10

func (v *requestVisitor) open(path []byte, k kind) {
	p := string(path)
	v.length, v.spaced = 0, false
	// Go's decoder, for one, takes "Model" for "model".
	if strings.EqualFold(p, "model") {
		v.twice = v.twice || v.named || p != "model"
		v.named = true
	}
	v.number(p, nil, true)
}

func (v *requestVisitor) part(path, b []byte) {
	v.length += int64(len(b))
	v.spaced = v.spaced || bytes.ContainsAny(b, " \n")
	if string(path) == "model" {
		v.model.add(b)
	}
	switch p := string(path); p {
	case "speed", "service_tier", "inference_geo":
		if v.tiers == nil {
			v.tiers = map[string]*name{}
		}
		if v.tiers[p] == nil {
			v.tiers[p] = &name{}
		}
		v.tiers[p].add(b)
	}
}

func (v *requestVisitor) scalar(path, b []byte) {
	if string(path) == "background" && string(b) != "false" && string(b) != "null" {
		v.background = true
	}
	v.number(string(path), b, false)
}

func (v *requestVisitor) number(path string, b []byte, bad bool) {
	var c *count
	switch strings.TrimPrefix(path, "request.") { // Code Assist wraps Gemini's requests
	case "max_tokens", "max_completion_tokens", "max_output_tokens", "generationConfig.maxOutputTokens", "generation_config.max_output_tokens":
		c = &v.output
	case "n", "generationConfig.candidateCount", "generation_config.candidate_count":
		c = &v.choices
	default:
		return
	}
	if bad {
		c.bad = true
		return
	}
	c.take(b)
}

func (v *requestVisitor) close(_ []byte, k kind) {
	if k == text && (v.spaced || v.length <= maxWord) {
		v.text += v.length
	}
}

// dearer compares with the names of the usual tiers at Anthropic (speed, service_tier,
// inference_geo) and OpenAI (service_tier), and of cheaper ones.
func (v *requestVisitor) dearer() string {
	for _, p := range []string{"speed", "service_tier", "inference_geo"} {
		if n := v.tiers[p]; n != nil && !slices.Contains([]string{"standard", "standard_only", "auto", "default", "flex", "global"}, n.String()) {
			return p
		}
	}
	return ""
}

func (v *requestVisitor) wants([]byte) *digest { return nil }

// Cost is whether a request costs tokens, and whether its answer says how many.
type Cost int

// The kinds of request.
const (
	Free      Cost = iota // it costs nothing, or changes nothing that costs
	Metered               // the answer says what it costs
	Unmetered             // it may cost, and nothing that is read here says how much
)

// Classify says by method and path what a request to a provider's host is: which API
// reads its answer, and what model the path names. Providers offer each other's APIs
// beside their own, so the path alone decides.
func Classify(method, path string, upgrade bool) (api API, cost Cost, model string) {
	last := path[strings.LastIndexByte(path, '/')+1:]
	before, verb, hasVerb := strings.Cut(last, ":")
	switch {
	case method == "GET" && upgrade && last == "responses":
		return OpenAI, Metered, ""
	case upgrade:
		return "", Unmetered, "" // realtime and live APIs
	case method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "DELETE":
		return "", Free, ""
	case method != "POST":
		return "", Unmetered, ""
	case hasVerb:
		switch verb {
		case "generateContent", "streamGenerateContent":
			if strings.HasPrefix(before, "v1internal") {
				before = "" // Code Assist: the model is in the body
			}
			return Gemini, Metered, before
		case "rawPredict", "streamRawPredict": // Anthropic's models on Vertex
			return Anthropic, Metered, before
		case "countTokens":
			return "", Free, ""
		}
		return "", Unmetered, ""
	}
	switch last {
	case "messages":
		return Anthropic, Metered, ""
	case "completions", "responses", "embeddings", "compact":
		return OpenAI, Metered, deployment(path)
	case "count_tokens", "input_tokens", "moderations", "cancel":
		return "", Free, ""
	}
	return "", Unmetered, ""
}

// deployment is the model in a path of Azure's: /openai/deployments/NAME/...
func deployment(path string) string {
	_, rest, ok := strings.Cut(path, "/deployments/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}
