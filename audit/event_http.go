package audit

import (
	"cmp"
	"strconv"
	"time"
)

// HTTP is a request on a host that the gateway looks into. It never holds a body, a
// header's value or a query: credentials are in these.
type HTTP struct {
	ID       uint64        `json:"id,omitempty"` // of the connection, as in Connect
	Method   string        `json:"method"`
	Scheme   string        `json:"scheme"` // "https" or "http"
	Host     string        `json:"host"`
	Port     uint16        `json:"port"`
	Path     string        `json:"path"`
	Version  string        `json:"version"`          // "1.1", "2"
	Status   int           `json:"status,omitempty"` // 0: no answer was given
	BytesOut int64         `json:"bytes_out"`        // of the request's body
	BytesIn  int64         `json:"bytes_in"`         // of the answer's body, as the agent got it
	Duration time.Duration `json:"duration"`         // until the answer's last byte
	Latency  time.Duration `json:"latency"`          // until its first
	Secrets  []string      `json:"secrets,omitempty"`
	Outcome  Outcome       `json:"outcome"`
	Rule     string        `json:"rule,omitempty"`
	Reason   string        `json:"reason,omitempty"`
	Process  Process       `json:"process"`

	Fault     string     `json:"fault,omitempty"`     // what the profile made go wrong on purpose
	Sanitized *Sanitized `json:"sanitized,omitempty"` // nil: the answer was passed on as it came
}

// Sanitized is how much was taken out of an answer.
type Sanitized struct {
	Elements   int64 `json:"elements"`   // with all that was in them
	Comments   int64 `json:"comments"`   // and processing instructions
	Attributes int64 `json:"attributes"` // left out or cut
	Texts      int64 `json:"texts"`      // that their style hid
	Characters int64 `json:"characters"` // that have no shape
	Bytes      int64 `json:"bytes"`      // of the answer's body before, decoded
}

func (HTTP) record() {}

func httpActivity() class { return class{4002, "HTTP Activity", 4, "Network Activity"} }

// httpMethod maps a method to its activity. Other methods, which are whatever the
// agent makes up, are not put where the schema has an enumeration.
func httpMethod(method string) (a activity, known bool) {
	switch method {
	case "DELETE":
		return activity{2, "Delete"}, true
	case "GET":
		return activity{3, "Get"}, true
	case "HEAD":
		return activity{4, "Head"}, true
	case "OPTIONS":
		return activity{5, "Options"}, true
	case "POST":
		return activity{6, "Post"}, true
	case "PUT":
		return activity{7, "Put"}, true
	case "TRACE":
		return activity{8, "Trace"}, true
	case "PATCH":
		return activity{9, "Patch"}, true
	case "CONNECT":
		return activity{1, "Connect"}, true
	}
	return activity{99, "Other"}, false
}

func (s source) http(r HTTP, at time.Time) (header, object) {
	act, known := httpMethod(r.Method)
	h := header{
		class:    httpActivity(),
		activity: act,
		severity: severityFor(r.Outcome),
		verdict:  verdictOf(r.Outcome),
		message:  r.Method + " " + r.Scheme + "://" + target(r.Host, "", r.Port) + r.Path + " " + string(r.Outcome),
		rule:     r.Rule,
		reason:   r.Reason,
		at:       at,
	}
	body := s.arena.object(8)
	u := s.arena.object(5)
	s.actor(&body, r.Process)
	if r.ID != 0 {
		body.object("connection_info", s.connection("tcp", "", "", r.ID))
	}
	body.object("dst_endpoint", s.endpoint(&u, cmp.Or(r.Host, "unknown"), "", r.Port))

	url := s.arena.object(4)
	url.text("hostname", r.Host)
	url.text("path", cmp.Or(r.Path, "/"))
	if r.Port != 0 {
		url.number("port", int64(r.Port))
	}
	url.text("scheme", r.Scheme)
	request := s.arena.object(4)
	request.number("body_length", r.BytesOut)
	if known {
		request.own("http_method", r.Method)
	} else {
		u.text("method", r.Method)
	}
	request.object("url", url)
	request.text("version", r.Version)
	body.object("http_request", request)
	if r.Status != 0 {
		response := s.arena.object(3)
		response.number("body_length", r.BytesIn)
		response.number("code", int64(r.Status))
		response.number("latency", r.Latency.Milliseconds())
		body.object("http_response", response)
	}
	u.number("duration_us", r.Duration.Microseconds())
	u.texts("secrets", r.Secrets)
	u.text("fault", r.Fault)
	if z := r.Sanitized; z != nil {
		n := s.arena.object(6)
		n.number("elements", z.Elements)
		n.number("comments", z.Comments)
		n.number("attributes", z.Attributes)
		n.number("texts", z.Texts)
		n.number("characters", z.Characters)
		n.number("bytes", z.Bytes)
		u.object("sanitized", n)
	}
	return h, s.root(h, body, u)
}

// httpFoldKey tells repeats of the same refusal.
func httpFoldKey(r HTTP) string {
	if r.Outcome != Blocked {
		return ""
	}
	return digestKey("http", r.Process, r.Method, r.Scheme, r.Host, strconv.Itoa(int(r.Port)), r.Path, strconv.Itoa(r.Status), r.Rule, r.Reason)
}

// EventHTTPRequest is the request of an HTTP event.
type EventHTTPRequest struct {
	Method string `json:"http_method"`
	URL    struct {
		Hostname string `json:"hostname"`
		Path     string `json:"path"`
		Port     uint16 `json:"port"`
		Scheme   string `json:"scheme"`
	} `json:"url"`
	Version string `json:"version"`
}

// EventHTTPResponse is the answer of an HTTP event.
type EventHTTPResponse struct {
	Code int `json:"code"`
}

// httpView is an HTTP event in a person's words.
func (e Event) httpView() string {
	r := e.HTTPRequest
	s := cmp.Or(r.Method, e.ActivityName) + " " + r.URL.Scheme + "://" + target(r.URL.Hostname, "", r.URL.Port) + r.URL.Path
	if e.HTTPResponse.Code != 0 {
		s += " " + strconv.Itoa(e.HTTPResponse.Code)
	}
	return s
}
