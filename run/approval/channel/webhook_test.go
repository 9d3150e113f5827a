package channel

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/agentjail/agentjail/run/approval"
)

var key = []byte("0123456789abcdef0123456789abcdef")

func question() approval.Question {
	return approval.Question{ID: "abcd-1", Kind: approval.Connect, What: "connect to x.example:443 (tls)", Deadline: time.Now().Add(time.Minute)}
}

// answerer answers as what says, and notes the requests.
func answerer(t *testing.T, answer func(w *Webhook, h http.Header, body []byte, rw http.ResponseWriter)) *Webhook {
	t.Helper()
	var hook *Webhook
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		id, at := r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp")
		if !hook.signed(id, at, body, r.Header.Get("Webhook-Signature")) {
			t.Error("the question is not signed")
		}
		var q asked
		if err := json.Unmarshal(body, &q); err != nil || q.Data.ID != "abcd-1" || q.Run != "the-run" || strings.Contains(string(body), string(key)) {
			t.Errorf("%s %v", body, err)
		}
		answer(hook, r.Header, body, rw)
	}))
	t.Cleanup(srv.Close)
	hook, err := NewWebhook(srv.URL, key, "the-run")
	if err != nil {
		t.Fatal(err)
	}
	return hook
}

// signed answers with a body, signed as the webhook wants it.
func signed(id, at, body string, rw http.ResponseWriter) {
	w := &Webhook{key: key}
	rw.Header().Set("Webhook-Id", id)
	rw.Header().Set("Webhook-Timestamp", at)
	rw.Header().Set("Webhook-Signature", "v1,AAAA "+w.sign(id, at, []byte(body)))
	_, _ = io.WriteString(rw, body)
}

func now() string { return strconv.FormatInt(time.Now().Unix(), 10) }

func TestWebhookAnswers(t *testing.T) {
	for body, want := range map[string]approval.Answer{
		`{"id":"abcd-1","verdict":"yes"}`:                          {Yes: true, Once: true},
		`{"id":"abcd-1","verdict":"yes","for":"10m","name":"ann"}`: {Yes: true, For: 10 * time.Minute, By: approval.Approver{Name: "ann"}},
		`{"id":"abcd-1","verdict":"no"}`:                           {},
	} {
		w := answerer(t, func(_ *Webhook, h http.Header, _ []byte, rw http.ResponseWriter) {
			signed(h.Get("Webhook-Id"), now(), body, rw)
		})
		want.By.Channel = "webhook"
		a, ok, err := w.Ask(t.Context(), question())
		if err != nil || !ok || a != want {
			t.Errorf("%s: %+v %t %v", body, a, ok, err)
		}
	}
}

// Whatever is not signed with the key, of now, and to this very question is no answer.
func TestWebhookForgeries(t *testing.T) {
	yes := `{"id":"abcd-1","verdict":"yes"}`
	var old struct{ id, at string }
	for name, c := range map[string]struct {
		answer   func(w *Webhook, h http.Header, body []byte, rw http.ResponseWriter)
		unsigned bool
	}{
		"no signature": {func(_ *Webhook, _ http.Header, _ []byte, rw http.ResponseWriter) { _, _ = io.WriteString(rw, yes) }, true},
		"another key": {func(_ *Webhook, h http.Header, _ []byte, rw http.ResponseWriter) {
			id, at := h.Get("Webhook-Id"), now()
			rw.Header().Set("Webhook-Id", id)
			rw.Header().Set("Webhook-Timestamp", at)
			rw.Header().Set("Webhook-Signature", (&Webhook{key: []byte("another key of some length")}).sign(id, at, []byte(yes)))
			_, _ = io.WriteString(rw, yes)
		}, true},
		"another verdict than was signed": {func(_ *Webhook, h http.Header, _ []byte, rw http.ResponseWriter) {
			id, at := h.Get("Webhook-Id"), now()
			rw.Header().Set("Webhook-Id", id)
			rw.Header().Set("Webhook-Timestamp", at)
			rw.Header().Set("Webhook-Signature", (&Webhook{key: key}).sign(id, at, []byte(strings.Replace(yes, "yes", "no", 1))))
			_, _ = io.WriteString(rw, yes)
		}, true},
		"late": {func(_ *Webhook, h http.Header, _ []byte, rw http.ResponseWriter) {
			signed(h.Get("Webhook-Id"), strconv.FormatInt(time.Now().Add(-tolerance-time.Minute).Unix(), 10), yes, rw)
		}, true},
		"of the future": {func(_ *Webhook, h http.Header, _ []byte, rw http.ResponseWriter) {
			signed(h.Get("Webhook-Id"), strconv.FormatInt(time.Now().Add(tolerance+time.Minute).Unix(), 10), yes, rw)
		}, true},
		"replayed": {func(w *Webhook, h http.Header, _ []byte, rw http.ResponseWriter) {
			signed("abcd-1.00000000000000000000000000000000", now(), yes, rw)
		}, true},
		"reflected": {func(_ *Webhook, h http.Header, body []byte, rw http.ResponseWriter) {
			for _, k := range []string{"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"} {
				rw.Header().Set(k, h.Get(k))
			}
			_, _ = rw.Write(body)
		}, false},
		"to another question": {func(_ *Webhook, h http.Header, _ []byte, rw http.ResponseWriter) {
			signed(h.Get("Webhook-Id"), now(), `{"id":"abcd-2","verdict":"yes"}`, rw)
		}, false},
		"neither": {func(_ *Webhook, h http.Header, _ []byte, rw http.ResponseWriter) {
			signed(h.Get("Webhook-Id"), now(), `{"id":"abcd-1","verdict":"YES"}`, rw)
		}, false},
		"a word more": {func(_ *Webhook, h http.Header, _ []byte, rw http.ResponseWriter) {
			signed(h.Get("Webhook-Id"), now(), yes+yes, rw)
		}, false},
		"too long": {func(_ *Webhook, h http.Header, _ []byte, rw http.ResponseWriter) {
			signed(h.Get("Webhook-Id"), now(), yes+strings.Repeat(" ", maxAnswer), rw)
		}, true},
		"a redirect": {func(_ *Webhook, h http.Header, _ []byte, rw http.ResponseWriter) {
			rw.Header().Set("Location", "http://127.0.0.1:1/")
			rw.WriteHeader(http.StatusTemporaryRedirect)
		}, false},
		"an error": {func(_ *Webhook, h http.Header, _ []byte, rw http.ResponseWriter) { rw.WriteHeader(500) }, false},
	} {
		a, ok, err := answerer(t, c.answer).Ask(t.Context(), question())
		if err == nil || ok || a != (approval.Answer{}) || errors.Is(err, ErrUnsigned) != c.unsigned {
			t.Errorf("%s: %+v %t %v", name, a, ok, err)
		}
	}
	// What was a good answer to one question is none to the next, though it is the same.
	w := answerer(t, func(_ *Webhook, h http.Header, _ []byte, rw http.ResponseWriter) {
		if old.id == "" {
			old.id, old.at = h.Get("Webhook-Id"), now()
		}
		signed(old.id, old.at, yes, rw)
	})
	if _, ok, err := w.Ask(t.Context(), question()); !ok || err != nil {
		t.Errorf("%t %v", ok, err)
	}
	if _, ok, err := w.Ask(t.Context(), question()); ok || !errors.Is(err, ErrUnsigned) {
		t.Errorf("a replay: %t %v", ok, err)
	}
}

// An answerer that takes its time is waited for until the question's deadline.
func TestWebhookSilent(t *testing.T) {
	over := make(chan struct{})
	w := answerer(t, func(_ *Webhook, _ http.Header, _ []byte, _ http.ResponseWriter) { <-over })
	q := question()
	q.Deadline = time.Now().Add(50 * time.Millisecond)
	_, ok, err := w.Ask(t.Context(), q)
	close(over)
	if ok || err == nil || strings.Contains(err.Error(), w.url) {
		t.Errorf("%t %v", ok, err)
	}
	w = answerer(t, func(_ *Webhook, _ http.Header, _ []byte, rw http.ResponseWriter) { rw.WriteHeader(http.StatusAccepted) })
	if _, ok, err := w.Ask(t.Context(), question()); ok || err != nil {
		t.Errorf("accepted: %t %v", ok, err)
	}
}

func TestNewWebhook(t *testing.T) {
	for _, c := range []struct {
		url, key string
		ok       bool
	}{
		{"https://example.com/x", string(key), true},
		{"http://127.0.0.1:8080/x", string(key), true},
		{"http://[::1]/x", string(key), true},
		{"http://example.com/x", string(key), false},
		{"http://127.0.0.1.example.com/x", string(key), false},
		{"ftp://127.0.0.1/x", string(key), false},
		{"x", string(key), false},
		{"https://example.com/x", "short", false},
		{"https://example.com/x", "whsec_MDEyMzQ1Njc4OWFiY2RlZg==", true},
		{"https://example.com/x", "whsec_no base64", false},
	} {
		if _, err := NewWebhook(c.url, []byte(c.key), "r"); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
