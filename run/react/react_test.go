package react

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// list is a sink that remembers.
type list struct {
	mu       sync.Mutex
	findings []audit.Finding
}

func (l *list) Emit(r audit.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.findings = append(l.findings, r.(audit.Finding))
}

func (l *list) titles() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for _, f := range l.findings {
		fmt.Fprintf(&b, "%s: %s (%s)\n", f.Title, f.Detail, f.Outcome)
	}
	return b.String()
}

func TestOf(t *testing.T) {
	p := audit.Process{PID: 7, Name: "x"}
	for name, tt := range map[string]struct {
		r    audit.Record
		want profiles.Event
	}{
		"limit":               {audit.LimitHit{Limit: "memory", Value: 5, Unit: "bytes", Process: p}, profiles.EventLimit},
		"budget":              {audit.LimitHit{Limit: "budget model per_run"}, ""},
		"quota":               {audit.Exec{Outcome: audit.Blocked, Quota: true, Process: p}, profiles.EventLimit},
		"exec":                {audit.Exec{Outcome: audit.Blocked}, ""},
		"escape":              {audit.Finding{Title: "t", Event: "escape", Process: p}, profiles.EventEscape},
		"anomaly":             {audit.Finding{Title: "t", Event: "anomaly"}, profiles.EventAnomaly},
		"finding":             {audit.Finding{Title: "t"}, ""},
		"no finding's affair": {audit.Finding{Title: "t", Event: "budget"}, ""},
		"file":                {audit.File{}, ""},
	} {
		e, ok := Of(tt.r)
		if ok != (tt.want != "") || e.Kind != tt.want {
			t.Errorf("%s: %+v %v, want %q", name, e, ok, tt.want)
		}
	}
	e, _ := Of(audit.Finding{Event: "anomaly", Figures: map[string]float64{"rate": 1.5}})
	if text, err := json.Marshal(e); err != nil || !strings.Contains(string(text), `"figures":{"rate":1.5}`) {
		t.Errorf("an anomaly is told as %s, %v", text, err)
	}
}

func TestAct(t *testing.T) {
	var got []string
	d := New(Config{Sink: &list{}, Act: func(r profiles.Reaction, e Event) { got = append(got, string(r)+" "+e.Title) },
		On: []profiles.On{{Event: profiles.EventLimit, Action: profiles.ReactKill}, {Event: profiles.EventEscape, Action: profiles.ReactLog}}})
	for _, e := range []Event{{Kind: profiles.EventLimit, Title: "a"}, {Kind: profiles.EventLimit, Title: "b", Ends: true}, {Kind: profiles.EventEscape, Title: "c"},
		{Kind: profiles.EventAnomaly, Title: "d"}, {Kind: profiles.EventLimit, Title: "a"}} {
		d.Happened(e)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"kill a", "kill a"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// shell makes an `on` block that runs a script with a file as its argument.
func shell(kind profiles.Event, script, file string) profiles.On {
	return profiles.On{Event: kind, Action: profiles.ReactLog, Command: []string{"/bin/sh", "-c", script, "sh", file}, Origin: profiles.Origin{File: "x.hcl", Line: 3}}
}

// The command has the event on its standard input, and nothing of it anywhere else.
func TestCommand(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	hostile := "; touch /tmp/x $(id) \x1b]52;c;x\x07 \xff secret-value"
	sink := &list{}
	d := New(Config{Run: Run{ID: "r1", Profile: "p"}, Sink: sink, Environ: []string{"PATH=/usr/bin:/bin", "MINE=1"}, Dir: "/",
		Redact: func(s string) string { return strings.ReplaceAll(s, "secret-value", "[masked]") },
		On:     []profiles.On{shell(profiles.EventEscape, `{ cat; echo "args $# $MINE"; env; pwd; tr "\0" " " </proc/$$/cmdline; } >"$1"`, out)}})
	d.Happened(Event{Kind: profiles.EventEscape, Title: "t", Detail: hostile, Process: &Process{5, hostile}})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err, sink.titles())
	}
	first, rest, _ := strings.Cut(string(data), "\n")
	var m Message
	if err := json.Unmarshal([]byte(first), &m); err != nil {
		t.Fatal(err)
	}
	if m.Version != 1 || m.ID != "r1-1" || m.Run.ID != "r1" || m.Kind != profiles.EventEscape || !strings.HasSuffix(m.Detail, "\uFFFD [masked]") || m.Process.PID != 5 {
		t.Errorf("the message is %+v", m)
	}
	if strings.Contains(first, "\x1b") || strings.Contains(string(data), "secret-value") {
		t.Errorf("raw text in the message: %q", first)
	}
	if strings.Contains(rest, "touch") || !strings.HasPrefix(rest, "args 1 1\n") || !strings.Contains(rest, "\n/\n") {
		t.Errorf("the command saw %q", rest)
	}
	if got := sink.titles(); !strings.Contains(got, `the command "/bin/sh" was told of the event "escape": message r1-1 (allowed)`) {
		t.Errorf("the trail has %q", got)
	}
}

func TestCommandFails(t *testing.T) {
	sink := &list{}
	d := New(Config{Sink: sink, On: []profiles.On{shell(profiles.EventLimit, `printf 'no \033[31m way' >&2; exit 3`, "")}})
	d.Happened(Event{Kind: profiles.EventLimit, Title: "t"})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if got := sink.titles(); !strings.Contains(got, "could not be told") || !strings.Contains(got, `exit status 3, saying "no \x1b[31m way" (failed)`) {
		t.Errorf("the trail has %q", got)
	}
}

// A command that does not end is ended with all that it has started.
func TestCommandEnds(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- runCommand(ctx, []string{"/bin/sh", "-c", `sleep 1000 & echo $! >"$1/child.new"; mv "$1/child.new" "$1/child"; wait`, "sh", dir}, nil, "/", nil)
	}()
	var child []byte
	await(t, "the command's child", func() bool {
		var err error
		child, err = os.ReadFile(filepath.Join(dir, "child"))
		return err == nil
	})
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("it ended with %v", err)
	}
	await(t, "the end of the command's child", func() bool {
		data, err := os.ReadFile("/proc/" + strings.TrimSpace(string(child)) + "/stat")
		return err != nil || strings.Contains(string(data), ") Z ")
	})
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("waited a minute for %s", what)
}

// A flood starts neither a command for each event nor holds anybody up.
func TestFlood(t *testing.T) {
	dir := t.TempDir()
	sink := &list{}
	now := time.Unix(1000, 0)
	d := New(Config{Sink: sink, On: []profiles.On{shell(profiles.EventEscape, `echo x >>"$1/n"; while ! [ -e "$1/go" ]; do sleep 0.05; done`, dir)},
		now: func() time.Time { return now }})
	for range 10_000 {
		d.Happened(Event{Kind: profiles.EventEscape, Title: "the same"})
	}
	for i := range 10_000 {
		d.Happened(Event{Kind: profiles.EventEscape, Title: fmt.Sprint("another ", i)})
	}
	if len(d.seen) > maxKinds+1 {
		t.Errorf("%d events are remembered", len(d.seen))
	}
	now = now.Add(again)
	d.Happened(Event{Kind: profiles.EventEscape, Title: "the same"})
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "n"))
	if n := strings.Count(string(data), "x"); err != nil || n == 0 || n > maxQueue+1 {
		t.Errorf("%d commands were run (%v)", n, err)
	}
	if !strings.Contains(sink.titles(), "not every event was told") {
		t.Errorf("the trail does not say that some were not told: %s", sink.titles())
	}
}

func TestRepeated(t *testing.T) {
	now := time.Unix(1000, 0)
	d := &Dispatcher{seen: map[string]*repeat{}}
	e := Event{Kind: profiles.EventLimit, Title: "t"}
	for i, want := range []struct {
		after    time.Duration
		repeated int64
		tell     bool
	}{{0, 0, true}, {time.Second, 0, false}, {time.Second, 0, false}, {again, 2, true}, {again, 0, true}} {
		now = now.Add(want.after)
		if repeated, tell := d.count(e, now); repeated != want.repeated || tell != want.tell {
			t.Errorf("%d: %d %v, want %+v", i, repeated, tell, want)
		}
	}
}

func TestWebhook(t *testing.T) {
	var calls atomic.Int64
	answers := []int{500, 204}
	var ids []string
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := calls.Add(1)
		body, err := io.ReadAll(r.Body)
		var m Message
		if jerr := json.Unmarshal(body, &m); err != nil || jerr != nil || r.Method != "POST" || m.Title != "t" || r.URL.Path != "/hook" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s %q: %v %v", r.Method, r.URL, body, err, jerr)
		}
		ids = append(ids, r.Header.Get("Idempotency-Key"))
		switch {
		case r.URL.RawQuery == "redirect":
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		case r.URL.RawQuery == "refused":
			w.WriteHeader(http.StatusForbidden)
		default:
			w.WriteHeader(answers[min(int(n)-1, 1)])
		}
	}))
	defer server.Close()
	send := func(query string) string {
		sink := &list{}
		d := New(Config{Run: Run{ID: "r"}, Sink: sink, On: []profiles.On{{Event: profiles.EventLimit, Action: profiles.ReactLog, Webhook: server.URL + "/hook" + query}}})
		d.Happened(Event{Kind: profiles.EventLimit, Title: "t"})
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		return sink.titles()
	}
	if got := send(""); calls.Load() != 2 || ids[0] != ids[1] || !strings.Contains(got, "was told") {
		t.Errorf("%d calls with ids %q: %s", calls.Load(), ids, got)
	}
	calls.Store(0)
	if got := send("?refused"); calls.Load() != 1 || !strings.Contains(got, "it answered 403") || strings.Contains(got, "refused") {
		t.Errorf("%d calls: %s", calls.Load(), got)
	}
	calls.Store(0)
	if got := send("?redirect"); calls.Load() != 1 || elsewhere.Load() != 0 || !strings.Contains(got, "it answered 307") {
		t.Errorf("%d calls, %d elsewhere: %s", calls.Load(), elsewhere.Load(), got)
	}
}

// Plain http goes to this machine only, whatever a name stands for.
func TestWebhookStaysHere(t *testing.T) {
	c := &http.Client{Transport: transport("http://192.0.2.1/")}
	_, err := c.Get("http://192.0.2.1/") // TEST-NET-1 of RFC 5737
	if err == nil || !strings.Contains(err.Error(), "is not this machine") {
		t.Errorf("%v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if c, err := transport("http://localhost/").DialContext(t.Context(), "tcp", l.Addr().String()); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	bin, work := filepath.Join(dir, "bin"), filepath.Join(dir, "work")
	for _, d := range []string{bin, work} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, "tell"), []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(work, "tell"), filepath.Join(bin, "link")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ program, path, want, fails string }{
		{"tell", bin, filepath.Join(bin, "tell"), ""},
		{filepath.Join(bin, "tell"), "", filepath.Join(bin, "tell"), ""},
		{"tell", ".:" + bin, filepath.Join(bin, "tell"), ""},
		{"tell", work, "", "the agent can write"},
		{"link", bin, "", "the agent can write"},
		{"absent", bin, "", "no such program"},
		{"./tell", bin, "", "depends on where"},
	} {
		got, err := Check([]profiles.On{{Event: profiles.EventLimit, Command: []string{tt.program, "a"}}, {Event: profiles.EventBudget}}, tt.path, []string{work})
		switch {
		case tt.fails != "":
			if err == nil || !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("%+v: %v", tt, err)
			}
		case err != nil || !slices.Equal(got[0].Command, []string{tt.want, "a"}):
			t.Errorf("%+v: %+v %v", tt, got, err)
		}
	}
}
