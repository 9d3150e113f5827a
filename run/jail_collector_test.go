package run_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

// A collector gets every event of the trail as it stands there, and the metrics; one that
// is dead keeps no run from its end, and the trail says so.
func TestJailCollector(t *testing.T) {
	var mu sync.Mutex
	var logs, metrics []string
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/v1/metrics" {
			metrics = append(metrics, string(body))
			return
		}
		var q struct {
			ResourceLogs []struct {
				ScopeLogs []struct {
					LogRecords []struct {
						Body struct{ StringValue string }
					}
				}
			}
		}
		if err := json.Unmarshal(body, &q); err != nil {
			t.Error(err)
		}
		for _, r := range q.ResourceLogs[0].ScopeLogs[0].LogRecords {
			logs = append(logs, r.Body.StringValue)
		}
	}))
	defer srv.Close()
	o := newCaller(t, fmt.Sprintf("audit { otlp = %q }", srv.URL)).must("sh", "-c", "cat /etc/shadow; true")
	events := o.events()
	mu.Lock()
	defer mu.Unlock()
	if len(logs) != len(events) {
		t.Fatalf("the collector got %d of %d events", len(logs), len(events))
	}
	for i, e := range events {
		if string(e.Raw) != logs[i] {
			t.Errorf("event %d became %s", i, logs[i])
		}
	}
	if len(metrics) == 0 || !strings.Contains(metrics[len(metrics)-1], `"agentjail.cpu.time"`) {
		t.Errorf("metrics %q", metrics)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := "http://" + l.Addr().String()
	l.Close()
	o = newCaller(t, fmt.Sprintf("audit { otlp = %q }", dead)).must("true")
	wantEvent(t, o.events(), "the dead collector", func(v audit.View, _ audit.Event) bool {
		return v.Kind == "finding" && strings.Contains(v.Target, "collector did not get") && strings.Contains(v.Reason, "took 0 events")
	})
	if o := newCaller(t, `audit { otlp = "http://collector.example:4318" }`).run("true"); o.code != 125 || !strings.Contains(o.stderr, "unencrypted") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
}

// Metrics are served to this machine while the run goes on, and not to the jail.
func TestJailMetrics(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "192.0.2.1:9", "metrics.example:9", "9464"} {
		if o := newCaller(t, "").runWith([]string{"--metrics", addr}, "true"); o.code != 125 || !strings.Contains(o.stderr, "--metrics") {
			t.Errorf("%s: exit code %d: %s", addr, o.code, o.stderr)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	c := newCaller(t, "")
	c.flags = []string{"--metrics", addr}
	_, port, _ := net.SplitHostPort(addr)
	// From inside by the host's loopback's address, and by its names there.
	try := fmt.Sprintf(`for h in 127.0.0.1 10.0.2.2 10.0.2.100 0.0.0.0 localhost host; do (exec 3<>/dev/tcp/$h/%s) 2>/dev/null && echo reached $h; done; echo tried; sleep 1000`, port)
	b := c.background("served", "bash", "-c", try)
	if b.said != "tried\n" {
		t.Errorf("from the jail: %q", b.said)
	}
	get := func(host string) (int, string) {
		q, err := http.NewRequest("GET", "http://"+addr+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Host = host
		a, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		body, err := io.ReadAll(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		return a.StatusCode, string(body)
	}
	if code, body := get(addr); code != 200 || !strings.Contains(body, `agentjail_run_info{run="`+b.id+`",name="served"`) {
		t.Errorf("%d %s", code, body)
	}
	if code, body := get("rebound.example"); code != 403 {
		t.Errorf("by a name: %d %s", code, body)
	}
	b.order(0, "kill", "served")
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("the port is open after the run's end")
	}
}
