package netns

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentjail/agentjail/audit"
)

// deny answers with the reason and the rule.
func (a *ask) deny(r *http.Request, status int, reason string) bool {
	a.rec.Outcome, a.rec.Reason = audit.Blocked, reason
	a.x.mu.Lock()
	a.x.said = true
	a.x.mu.Unlock()
	a.explain(r, status, reason)
	return false
}

// explain writes a refusal for the program, and for the model that reads it.
func (a *ask) explain(r *http.Request, status int, reason string) {
	text := "agentjail: " + reason
	if a.rec.Rule != "" {
		text += " (" + a.rec.Rule + ")"
	}
	h := a.w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.ProtoMajor == 1 && status == http.StatusForbidden {
		h.Set("Connection", "close")
	}
	body := text + "\n"
	if strings.Contains(r.Header.Get("Accept"), "json") {
		h.Set("Content-Type", "application/json")
		b, err := json.Marshal(map[string]any{"error": map[string]string{"type": "agentjail_denied", "message": text, "rule": a.rec.Rule}})
		if err == nil {
			body = string(b) + "\n"
		}
	} else {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	a.w.WriteHeader(status)
	_, _ = io.WriteString(a.w, body) // an agent that has gone needs no answer
}

// failed answers a request that did not get through.
func (a *ask) failed(request *http.Request, err error) {
	x, r := a.x, refusal{}
	a.rec.Outcome = audit.Failed
	var placed errPlaceholder
	var cost errCost
	x.mu.Lock()
	broken := x.broken
	x.mu.Unlock()
	switch {
	case a.full.Load() != nil:
		full := a.full.Load()
		a.rec.Rule = full.rule.String()
		a.deny(request, http.StatusTooManyRequests, capReason(full, x.host))
	case errors.As(err, &placed):
		a.deny(request, http.StatusForbidden, placed.Error())
	case broken != "":
		a.deny(request, http.StatusBadRequest, broken)
	case errors.Is(err, errFull):
		a.deny(request, http.StatusServiceUnavailable, x.g.seats.full())
	case errors.As(err, &r):
		x.dialled("", err)
		a.deny(request, http.StatusForbidden, r.reason)
	case errors.As(err, &cost):
		a.deny(request, http.StatusBadGateway, cost.Error())
	case errors.Is(err, errCoding), errors.As(err, new(unsanitized)):
		a.deny(request, http.StatusBadGateway, err.Error())
	default:
		reason := replaceText(upstreamError(x.host, err), a.x.forms)
		if !x.c.recorded {
			x.dialled("", errors.New(reason))
		}
		a.rec.Reason = clip(reason)
		a.explain(request, http.StatusBadGateway, clip(reason))
	}
}

// unread answers a request whose body was looked through before it was sent.
func (a *ask) unread(r *http.Request, err error) {
	var placed errPlaceholder
	if errors.As(err, &placed) {
		a.deny(r, http.StatusForbidden, placed.Error())
		return
	}
	a.rec.Outcome, a.rec.Reason = audit.Failed, "the request's body was cut off"
	a.explain(r, http.StatusBadRequest, a.rec.Reason)
}

// answered looks at an answer's head before the agent sees it.
func (a *ask) answered(res *http.Response) error {
	res.Header.Del("Alt-Svc") // another port or QUIC, neither of which is there
	if a.model != nil {
		a.model.answers(res.StatusCode)
	}
	if a.x.access.Sanitizes() {
		// Before the masking: what is taken out may stand in the middle of a secret.
		if err := a.sanitize(res.Request.Context(), res); err != nil {
			return err
		}
	}
	err := mask(res, a.x.forms, wholeAnswers(a.x.bound))
	if err == nil {
		err = a.settle(res)
	}
	if err == nil && a.model != nil {
		err = a.model.watch(res)
	}
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		a.truncate(res)
		return err
	}
	return a.upgraded(res)
}

// use takes bytes of a cap; an error says that it is used up.
func (a *ask) use(c *byteCap, n int) error {
	if c.reserve(int64(n)) == int64(n) {
		return nil
	}
	a.full.Store(c)
	a.x.g.capHit(c, a.x.host)
	return errCapped
}

// sentBody counts what the host gets and ends at the cap.
type sentBody struct {
	io.ReadCloser
	a *ask
}

var errCapped = errors.New("the limit of bytes is used up")

func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if cerr := b.a.use(b.a.up, n); cerr != nil {
		return 0, cerr
	}
	b.a.sent.Add(int64(n))
	return n, err
}

// answerWriter counts what the agent gets, masks the heads of answers (also those
// before the final one), and ends at the cap.
type answerWriter struct {
	http.ResponseWriter
	ask    *ask
	status int
	first  time.Duration
}

// Unwrap is for http.ResponseController: flushing and hijacking are the connection's.
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *answerWriter) WriteHeader(status int) {
	if status < 200 {
		maskHeader(w.Header(), w.ask.x.forms)
	}
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.status, w.first = status, time.Since(w.ask.began)
		w.Header().Del(budgetHeader) // the host's word on it is none
		for _, name := range slices.Sorted(maps.Keys(w.ask.budgets)) {
			w.Header().Add(budgetHeader, w.ask.budgets[name])
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *answerWriter) Write(p []byte) (int, error) {
	if w.ask.rec.Outcome == audit.Allowed { // else it is our own answer
		if err := w.ask.use(w.ask.down, len(p)); err != nil {
			return 0, err
		}
	}
	n, err := w.ResponseWriter.Write(p)
	w.ask.received.Add(int64(n))
	return n, err
}
