package channel

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/agentjail/agentjail/run/approval"
)

const (
	maxAnswer = 16 << 10
	minKey    = 16 // bytes

	// tolerance is how far the answerer's clock may be off; standardwebhooks.com takes
	// five minutes too.
	tolerance = 5 * time.Minute
)

// Webhook asks by HTTP.
type Webhook struct {
	url    string
	key    []byte
	run    string
	client *http.Client
	now    func() time.Time
}

// ErrUnsigned is an answer that is none: nobody who has the key has said it to this
// question, now.
var ErrUnsigned = errors.New("it is not signed as it must be")

// NewWebhook checks a webhook's URL and key. A key that begins with "whsec_" is base64
// behind that, as Standard Webhooks writes it.
func NewWebhook(to string, key []byte, run string) (*Webhook, error) {
	u, err := url.Parse(to)
	if err != nil || u.Host == "" {
		return nil, errors.New("the webhook has no URL")
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
		return nil, errors.New("a webhook is reached by https, or by http on this machine's loopback: whoever is in between would answer")
	}
	if rest, ok := bytes.CutPrefix(key, []byte("whsec_")); ok {
		if key, err = base64.StdEncoding.DecodeString(string(rest)); err != nil {
			return nil, errors.New("what follows whsec_ in the webhook's key is no base64")
		}
	}
	if len(key) < minKey {
		return nil, fmt.Errorf("the webhook's key has %d bytes, and at least %d are needed\nhint: openssl rand -hex 32 makes one", len(key), minKey)
	}
	return &Webhook{url: to, key: key, run: run, now: time.Now, client: &http.Client{
		// What is asked is for this host; another one has no key.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// asked is the body of a question.
type asked struct {
	Type string            `json:"type"`
	Run  string            `json:"run"`
	Data approval.Question `json:"data"`
}

// reply is the body of an answer.
type reply struct {
	ID      string `json:"id"`
	Verdict string `json:"verdict"`
	For     string `json:"for,omitempty"`  // a duration; without it a yes is once
	Name    string `json:"name,omitempty"` // who
}

// Ask posts a question and waits for the answer; answered is false where nobody has
// answered and nothing is wrong (202, 204).
func (w *Webhook) Ask(ctx context.Context, q approval.Question) (a approval.Answer, answered bool, err error) {
	ctx, cancel := context.WithDeadline(ctx, q.Deadline)
	defer cancel()
	nonce := make([]byte, 16)
	if _, err := rand.Read(nonce); err != nil {
		return a, false, err
	}
	id := q.ID + "." + hex.EncodeToString(nonce)
	body, err := json.Marshal(asked{Type: "approval.asked", Run: w.run, Data: q})
	if err != nil {
		return a, false, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return a, false, errors.New("the URL can't be used")
	}
	at := strconv.FormatInt(w.now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "agentjail")
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", at)
	req.Header.Set("Webhook-Signature", w.sign(id, at, body))
	res, err := w.client.Do(req)
	if err != nil {
		// Without the URL, which may have a token in its path or query.
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return a, false, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return a, false, err
	case res.StatusCode == http.StatusAccepted || res.StatusCode == http.StatusNoContent:
		return a, false, nil // somebody was told, and will answer in another way
	case res.StatusCode != http.StatusOK:
		return a, false, fmt.Errorf("it answered %d", res.StatusCode)
	}
	a, err = w.read(q, id, res.Header, text)
	return a, err == nil, err
}

// read takes an answer for one only where it is signed, of now, and to this question.
func (w *Webhook) read(q approval.Question, id string, h http.Header, body []byte) (a approval.Answer, err error) {
	at, err := strconv.ParseInt(h.Get("Webhook-Timestamp"), 10, 64)
	switch {
	case len(body) > maxAnswer:
		return a, fmt.Errorf("%w: it is longer than %d bytes", ErrUnsigned, maxAnswer)
	case err != nil:
		return a, fmt.Errorf("%w: it has no webhook-timestamp", ErrUnsigned)
	case h.Get("Webhook-Id") != id:
		return a, fmt.Errorf("%w: it is to another question, or of another time", ErrUnsigned)
	}
	if off := w.now().Sub(time.Unix(at, 0)); off > tolerance || off < -tolerance {
		return a, fmt.Errorf("%w: its webhook-timestamp is off by %s", ErrUnsigned, off.Round(time.Second))
	}
	if !w.signed(id, h.Get("Webhook-Timestamp"), body, h.Get("Webhook-Signature")) {
		return a, fmt.Errorf("%w: the webhook-signature is another key's", ErrUnsigned)
	}
	var r reply
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return a, fmt.Errorf("the answer can't be read: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return a, errors.New("the answer can't be read: something follows it")
	}
	if r.ID != q.ID {
		return a, errors.New("the answer is to another question")
	}
	switch r.Verdict {
	case "yes":
		a.Yes, a.Once = true, true
	case "no":
	default:
		return a, errors.New("the answer's verdict is neither yes nor no")
	}
	if r.For != "" {
		if a.For, err = time.ParseDuration(r.For); err != nil || a.For <= 0 {
			return approval.Answer{}, errors.New("the answer's time is none")
		}
		a.Once = false
	}
	a.By = approval.Approver{Name: r.Name, Channel: "webhook"}
	return a, nil
}

func (w *Webhook) sign(id, at string, body []byte) string {
	m := hmac.New(sha256.New, w.key)
	fmt.Fprintf(m, "%s.%s.", id, at)
	m.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// signed looks for our signature among those that are there: a sender that changes its
// key signs with both, with spaces between.
func (w *Webhook) signed(id, at string, body []byte, list string) bool {
	want := w.sign(id, at, body)
	ok := false
	for s := range strings.FieldsSeq(list) {
		ok = hmac.Equal([]byte(s), []byte(want)) || ok
	}
	return ok
}
