package suite

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// Attacks on the port at which a run's metrics are served, and on the way to a collector.

func metricsScenarios() []scenario {
	one := func(id, what, class, layer string, play func(*scene, *canaries) (string, error)) scenario {
		return scenario{attacks.Attack{ID: id, Line: 81, What: what, Class: class, Stopped: []attacks.Stop{{Layer: layer, Answers: []string{"ok"}}}}, play}
	}
	return []scenario{
		one("metrics-inside", "reach the port of the run's metrics from the jail", "a service of the host's loopback", attacks.NetNS, metricsInside),
		one("metrics-rebinding", "read the run's metrics by a name that was given to the loopback's address", "DNS rebinding: CVE-2018-5702 and others", attacks.Metrics, metricsRebinding),
		one("metrics-labels", "write a metric of one's own by a run's name and programs", "a label that ends early", attacks.Metrics, metricsLabels),
		one("collector", "reach the collector from the jail, or send it a record of one's own", "log injection", attacks.Collector, collectorScenario),
	}
}

// serving is a run with a port for its metrics whose agent waits to be told what to try.
func (s *scene) serving(c *canaries, name string, more string) (*live, *os.File, liveInfo, error) {
	if err := s.writeProfile(c, s.profile(c.target, more)); err != nil {
		return nil, nil, liveInfo{}, err
	}
	l, w, err := s.beginTold(c, []string{"--name", name, "--metrics", "127.0.0.1:0"}, s.program, attacks.ArgDoors)
	if err != nil {
		return nil, nil, liveInfo{}, err
	}
	var info liveInfo
	if _, err = io.WriteString(w, "{}\n"); err == nil {
		err = l.until("the agent's begin", func() bool { return l.triedBy().Began })
	}
	if err == nil {
		info, err = l.info(name)
	}
	if err != nil {
		w.Close()
		_ = l.cmd.Process.Kill()
		_, _ = l.end()
		return nil, nil, info, err
	}
	return l, w, info, nil
}

// knock has the agent try ports, and gives what let it in.
func (l *live) knock(w io.WriteCloser, ports ...int) (string, error) {
	d := attacks.Doors{Ports: ports}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			d.HostIPs = append(d.HostIPs, n.IP.String())
		}
	}
	line, err := json.Marshal(d)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(append(line, '\n')); err != nil {
		return "", err
	}
	err = l.until("the end of the attack", func() bool { return l.triedBy().Over })
	return reached(l.triedBy()), err
}

// metrics asks for them from the host, by a name.
func metrics(at, host string) (int, string, error) {
	q, err := http.NewRequest(http.MethodGet, at, nil)
	if err != nil {
		return 0, "", err
	}
	q.Host = host
	a, err := (&http.Client{Timeout: hangGuard}).Do(q)
	if err != nil {
		return 0, "", err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	return a.StatusCode, string(body), err
}

// served waits until the port has the run's figures: that it could be read.
func (l *live) served(info liveInfo) (text string, err error) {
	var merr error
	err = l.until("the metrics", func() bool {
		var code int
		code, text, merr = metrics(info.Metrics, "")
		return merr != nil || code == http.StatusOK && strings.Contains(text, info.ID)
	})
	return text, errors.Join(err, merr)
}

func metricsInside(s *scene, c *canaries) (string, error) {
	l, w, info, err := s.serving(c, "served", "")
	if err != nil {
		return "", err
	}
	got := ""
	if _, err = l.served(info); err == nil {
		var port int
		if port, err = portOf(info.Metrics); err == nil {
			got, err = l.knock(w, port)
		}
	}
	w.Close()
	_, eerr := l.end()
	return got, errors.Join(err, eerr)
}

func portOf(text string) (int, error) {
	u, err := url.Parse(text)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(u.Port())
}

func metricsRebinding(s *scene, c *canaries) (string, error) {
	l, w, info, err := s.serving(c, "served", "")
	if err != nil {
		return "", err
	}
	got := ""
	if _, err = l.served(info); err == nil {
		for _, host := range []string{"rebound." + domain, "rebound." + domain + ":80", "localhost." + domain, "127.0.0.1." + domain, "127.0.0.1.nip.io", "LOCALHOST.evil", "x@127.0.0.1", "2130706433x"} {
			code, text, merr := metrics(info.Metrics, host)
			if merr != nil {
				err = merr
				break
			}
			if code == http.StatusOK || strings.Contains(text, info.ID) {
				got = fmt.Sprintf("by the name %s the answer was %d", host, code)
			}
		}
	}
	w.Close()
	_, eerr := l.end()
	return got, errors.Join(err, eerr)
}

// metricLine is what a line of the text format may be here
// (prometheus.io/docs/instrumenting/exposition_formats): no metric has another name.
var metricLine = regexp.MustCompile(`^(# (HELP|TYPE) agentjail_[a-z_]+ [ -~]+|agentjail_[a-z_]+\{([a-z]+="([^"\\\n]|\\["\\n])*",?)*\} -?[0-9.e+]+)$`)

func metricsLabels(s *scene, c *canaries) (string, error) {
	name := `x",run="other"} 1 agentjail_forged{a="` + "\u2028" + `\`
	l, w, info, err := s.serving(c, name, "")
	if err != nil {
		return "", err
	}
	text, err := l.served(info)
	w.Close()
	if _, eerr := l.end(); err != nil || eerr != nil {
		return "", errors.Join(err, eerr)
	}
	last, err := os.ReadFile(filepath.Join(info.state, "metrics.prom"))
	if err != nil {
		return "", err
	}
	if !strings.Contains(text, `name="x\",run=`) {
		return "the name is not there as it should be written", nil
	}
	return strayMetric(text + string(last)), nil
}

// strayMetric gives the first line that is none of ours.
func strayMetric(text string) string {
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); !metricLine.MatchString(line) {
			return fmt.Sprintf("a line of the metrics is %q", line)
		}
	}
	return ""
}

// collector is one of OpenTelemetry's that keeps what it is sent.
type collector struct {
	mu      sync.Mutex
	records []string
	strange []string
}

func (o *collector) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	o.mu.Lock()
	defer o.mu.Unlock()
	var q struct {
		ResourceLogs []struct {
			ScopeLogs []struct {
				LogRecords []struct {
					Body struct{ StringValue string }
				}
			}
		}
	}
	switch {
	case r.Header.Get("X-Mark") != "":
		o.strange = append(o.strange, "a request of the agent's")
	case r.URL.Path == "/v1/metrics":
	case err != nil || json.Unmarshal(body, &q) != nil:
		o.strange = append(o.strange, fmt.Sprintf("%s with %.100q", r.URL.Path, body))
	}
	for _, x := range q.ResourceLogs {
		for _, y := range x.ScopeLogs {
			for _, z := range y.LogRecords {
				o.records = append(o.records, z.Body.StringValue)
			}
		}
	}
}

func collectorScenario(s *scene, c *canaries) (string, error) {
	o := &collector{}
	srv := httptest.NewServer(o)
	defer srv.Close()
	port, err := portOf(srv.URL)
	if err != nil {
		return "", err
	}
	// Arguments that want to be records of their own.
	const forged = "\"}},{\"body\":{\"stringValue\":\"forged\"}}]}]}]}\n{\"resourceLogs\":[]}\x00\xff\u2028"
	l, w, _, err := s.serving(c, "collected", fmt.Sprintf("audit { otlp = %q }\n", srv.URL))
	if err != nil {
		return "", err
	}
	got, err := l.knock(w, port)
	w.Close()
	if _, eerr := l.end(); err != nil || eerr != nil || got != "" {
		return got, errors.Join(err, eerr)
	}
	o.mu.Lock()
	o.records = nil
	o.mu.Unlock()
	e, err := s.agentjail(c, nil, "", s.program, attacks.ArgEcho, strings.ReplaceAll(forged, "\x00", ""))
	if err != nil {
		return "", err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.strange) > 0 {
		return "the collector got " + strings.Join(o.strange, "; "), nil
	}
	lines := strings.Split(strings.TrimSuffix(string(e.trail), "\n"), "\n")
	for i, r := range o.records {
		if i >= len(lines) || r != lines[i] {
			return fmt.Sprintf("record %d that the collector got is none of the trail's: %.200q", i, r), nil
		}
	}
	// That all of them come is TestJailCollector's; a busy collector may have missed some.
	if len(o.records) == 0 {
		return "", errors.New("the collector got no record")
	}
	return "", nil
}
