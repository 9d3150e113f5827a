package otlp

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// collector takes what is sent, with an answer of its own for each.
type collector struct {
	mu     sync.Mutex
	bodies map[string][]string
	answer func(n int, w http.ResponseWriter)
	n      int
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bodies == nil {
		c.bodies = map[string][]string{}
	}
	c.n++
	if c.answer != nil {
		c.answer(c.n, w)
	}
	if r.Header.Get("Content-Type") == "application/json" {
		c.bodies[r.URL.Path] = append(c.bodies[r.URL.Path], string(body))
	}
}

func event1(n int) string {
	return fmt.Sprintf(`{"message":"event %d \u001b[2J","metadata":{"sequence":%d,"uid":"u%d"},"severity":"Low","severity_id":2,"time":1790000000000,"time_dt":"2026-09-21T14:13:20.000000001Z","type_name":"Finding: Create","type_uid":200401}`+"\n", n, n, n)
}

func start(t *testing.T, url string) (*Exporter, *os.File) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := Start(Config{URL: url, Trail: f.Name(), Run: "r1", Version: "1", Begun: time.Unix(1, 0),
		Metrics: func() []Metric {
			return []Metric{{Name: "a", Unit: "s", Value: 1.5, Grows: true}, {Name: "b", Value: 2, Labels: map[string]string{"k": "v"}}, {Name: "b", Value: 3}}
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(); f.Close() })
	return e, f
}

func write(t *testing.T, f *os.File, text string) {
	t.Helper()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

const long = time.Minute

func TestExport(t *testing.T) {
	c := &collector{}
	srv := httptest.NewServer(c)
	defer srv.Close()
	e, f := start(t, srv.URL+"/")
	const n = 3*maxRecords + 7
	for i := range n {
		write(t, f, event1(i))
	}
	half := event1(n)
	write(t, f, half[:20])
	if o := e.Flush(long); o.Err != nil || o.Sent != n {
		t.Fatalf("%+v", o)
	}
	write(t, f, half[20:]+"no event\n")
	if o := e.Flush(long); o.Err != nil || o.Sent != n+1 || o.Refused != 0 {
		t.Fatalf("%+v", o)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := 0
	for _, body := range c.bodies["/v1/logs"] {
		var q logsRequest
		if err := json.Unmarshal([]byte(body), &q); err != nil {
			t.Fatal(err)
		}
		for _, r := range q.Resources[0].Scopes[0].Records {
			if want := strings.TrimSuffix(event1(seen), "\n"); *r.Body.String != want || r.SeverityNumber != 10 || r.Time != "1790000000000000001" {
				t.Fatalf("record %d is %+v %s", seen, r, *r.Body.String)
			}
			seen++
		}
	}
	if seen != n+1 {
		t.Errorf("%d records", seen)
	}
	metrics := c.bodies["/v1/metrics"][0]
	for _, want := range []string{`"name":"a","unit":"s","sum":{"dataPoints":[{"startTimeUnixNano":"1000000000",`, `"aggregationTemporality":2,"isMonotonic":true`, `{"name":"b","gauge":{"dataPoints":[{`, `"asDouble":3`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("%s is not in %s", want, metrics)
		}
	}
}

// A collector that is dead, that says later, that refuses, that never answers: the run
// is not held up, nothing is lost that a later try can bring, and the outcome says so.
func TestBadCollectors(t *testing.T) {
	t.Run("dead", func(t *testing.T) {
		srv := httptest.NewServer(&collector{})
		srv.Close()
		e, f := start(t, srv.URL)
		write(t, f, event1(0))
		if o := e.Flush(long); o.Err == nil || o.Sent != 0 {
			t.Errorf("%+v", o)
		}
	})
	t.Run("later", func(t *testing.T) {
		srv := httptest.NewServer(&collector{answer: func(n int, w http.ResponseWriter) {
			if n == 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}})
		defer srv.Close()
		e, f := start(t, srv.URL)
		write(t, f, event1(0))
		o := e.Flush(long)
		for i := 0; o.Err != nil && i < 3; i++ {
			o = e.Flush(long)
		}
		if o.Err != nil || o.Sent != 1 {
			t.Errorf("%+v", o)
		}
	})
	t.Run("refuses", func(t *testing.T) {
		srv := httptest.NewServer(&collector{answer: func(n int, w http.ResponseWriter) { w.WriteHeader(http.StatusBadRequest) }})
		defer srv.Close()
		e, f := start(t, srv.URL)
		write(t, f, event1(0))
		if o := e.Flush(long); o.Err != nil || o.Sent != 0 || o.Refused != 1 {
			t.Errorf("%+v", o)
		}
	})
	t.Run("refuses some", func(t *testing.T) {
		srv := httptest.NewServer(&collector{answer: func(n int, w http.ResponseWriter) {
			io.WriteString(w, `{"partialSuccess":{"rejectedLogRecords":"1"}}`)
		}})
		defer srv.Close()
		e, f := start(t, srv.URL)
		write(t, f, event1(0)+event1(1)+event1(2))
		if o := e.Flush(long); o.Sent != 2 || o.Refused != 1 {
			t.Errorf("%+v", o)
		}
	})
	t.Run("sends elsewhere", func(t *testing.T) {
		other := &collector{}
		there := httptest.NewServer(other)
		defer there.Close()
		srv := httptest.NewServer(http.RedirectHandler(there.URL, http.StatusTemporaryRedirect))
		defer srv.Close()
		e, f := start(t, srv.URL)
		write(t, f, event1(0))
		if o := e.Flush(long); o.Sent != 0 || len(other.bodies) > 0 {
			t.Errorf("%+v, the other got %v", o, other.bodies)
		}
	})
	t.Run("never answers", func(t *testing.T) {
		stop := make(chan struct{})
		srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stop }))
		defer srv.Close()
		defer close(stop)
		e, f := start(t, srv.URL)
		write(t, f, event1(0))
		if o := e.Flush(time.Millisecond); o.Err == nil {
			t.Errorf("%+v", o)
		}
		e.cancel() // and it ends at once
	})
}

func TestCheck(t *testing.T) {
	for address, ok := range map[string]bool{"https://c.example": true, "http://127.0.0.1:4318": true, "http://[::1]:4318": true, "http://localhost:4318": true,
		"http://c.example:4318": false, "http://10.0.0.1:4318": false, "http://127.0.0.1.example": false} {
		if err := Check(address); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}
