package otlp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What an exporter sends at once, and how often.
const (
	maxRecords = 512
	maxBytes   = 1 << 20
	maxLine    = 1 << 20 // audit.MaxLine
	maxAnswer  = 64 << 10

	logsEvery    = time.Second
	metricsEvery = 10 * time.Second
	postTimeout  = 10 * time.Second
	waitFirst    = time.Second // after a failure; it doubles
	waitMost     = 30 * time.Second
)

// Config is what an Exporter needs.
type Config struct {
	URL     string // of the collector; /v1/logs and /v1/metrics are added
	Trail   string // path
	Run     string
	Name    string
	Profile string
	Version string
	Begun   time.Time
	Metrics func() []Metric
}

// Exporter sends until it is closed.
type Exporter struct {
	cfg      Config
	base     string
	client   *http.Client
	resource resource
	quit     chan struct{}
	done     chan struct{}
	ctx      context.Context
	cancel   context.CancelFunc

	file  *os.File // the trail, read by the goroutine alone
	lines *bufio.Reader
	part  []byte // of a line whose end is not written yet
	batch []logRecord
	size  int

	mu   sync.Mutex
	sum  Outcome
	soon chan chan struct{} // asks for everything that is there to be sent now
}

// Outcome is what became of the events.
type Outcome struct {
	Sent    int64
	Refused int64 // by the collector, for good
	Err     error // the last failure; nil where the last try went well
}

// Check refuses a URL that a trail must not be sent to: unencrypted to another machine.
func Check(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("audit.otlp: %w", err)
	}
	if u.Scheme == "https" || u.Hostname() == "localhost" {
		return nil
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && a.IsLoopback() {
		return nil
	}
	return fmt.Errorf("audit.otlp: %s would get the trail unencrypted over the network\nhint: use https, or a collector on this machine", address)
}

// Start begins to send.
func Start(cfg Config) (*Exporter, error) {
	if err := Check(cfg.URL); err != nil {
		return nil, err
	}
	f, err := os.Open(cfg.Trail)
	if err != nil {
		return nil, fmt.Errorf("audit.otlp: %w", err)
	}
	e := &Exporter{cfg: cfg, base: strings.TrimRight(cfg.URL, "/"), file: f, lines: bufio.NewReaderSize(f, 64<<10),
		quit: make(chan struct{}), done: make(chan struct{}), soon: make(chan chan struct{}),
		resource: resource{[]attribute{text("service.name", "agentjail"), text("service.instance.id", cfg.Run), text("service.version", cfg.Version),
			text("agentjail.run.name", cfg.Name), text("agentjail.profile", cfg.Profile)}},
		client: &http.Client{Timeout: postTimeout, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConns: 2, ForceAttemptHTTP2: true},
			// A trail goes where the profile says and nowhere else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	go e.run()
	return e, nil
}

func (e *Exporter) run() {
	defer close(e.done)
	defer e.file.Close()
	wait := waitFirst
	next, nextMetrics := time.Now(), time.Now().Add(metricsEvery)
	timer := time.NewTimer(logsEvery)
	defer timer.Stop()
	for {
		var asked chan struct{}
		select {
		case <-e.quit:
			return
		case asked = <-e.soon:
		case <-timer.C:
		}
		now := time.Now()
		if asked == nil && now.Before(next) {
			timer.Reset(next.Sub(now))
			continue
		}
		err := e.drain()
		if err == nil && (asked != nil || !now.Before(nextMetrics)) {
			err = e.sendMetrics()
			nextMetrics = now.Add(metricsEvery)
		}
		e.mu.Lock()
		e.sum.Err = err
		e.mu.Unlock()
		if err != nil {
			next, wait = time.Now().Add(wait), min(2*wait, waitMost)
		} else {
			next, wait = time.Now().Add(logsEvery), waitFirst
		}
		timer.Reset(time.Until(next))
		if asked != nil {
			close(asked)
		}
	}
}

// Flush tries once to send all that is in the trail by now, for at most so long.
func (e *Exporter) Flush(within time.Duration) Outcome {
	asked := make(chan struct{})
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	select {
	case e.soon <- asked:
		select {
		case <-asked:
		case <-timeout.C:
			e.fail(errors.New("it took too long"))
		}
	case <-timeout.C:
		e.fail(errors.New("the collector takes too long"))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sum
}

func (e *Exporter) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sum.Err == nil {
		e.sum.Err = err
	}
}

// Close ends it, whatever it is doing.
func (e *Exporter) Close() error {
	e.cancel()
	close(e.quit)
	<-e.done
	e.client.CloseIdleConnections()
	return nil
}

// drain sends all that is there. A batch that could not be sent is kept, and is all that
// is kept.
func (e *Exporter) drain() error {
	for {
		if err := e.fill(); err != nil {
			return err
		}
		if len(e.batch) == 0 {
			return nil
		}
		refused, err := e.post("/v1/logs", logsRequest{[]resourceLogs{{e.resource, []scopeLogs{{scope{"agentjail", e.cfg.Version}, e.batch}}}}}, "rejectedLogRecords")
		if err != nil {
			return err
		}
		n := int64(len(e.batch))
		refused = min(max(refused, 0), n)
		e.mu.Lock()
		e.sum.Sent += n - refused
		e.sum.Refused += refused
		e.mu.Unlock()
		e.batch, e.size = e.batch[:0], 0
	}
}

// fill reads whole lines until a batch is full or there are no more.
func (e *Exporter) fill() error {
	for len(e.batch) < maxRecords && e.size < maxBytes {
		part, err := e.lines.ReadSlice('\n')
		if len(e.part)+len(part) <= maxLine {
			e.part = append(e.part, part...)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil // it is still being written
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return err
		}
		line := bytes.TrimSuffix(e.part, []byte("\n"))
		r, err := record(line, time.Now())
		e.part = nil
		if err != nil {
			continue // no event: verify says so
		}
		e.batch = append(e.batch, r)
		e.size += len(line)
	}
	return nil
}

func (e *Exporter) sendMetrics() error {
	_, err := e.post("/v1/metrics", metricsRequest{[]resourceMetrics{{e.resource, []scopeMetrics{{scope{"agentjail", e.cfg.Version}, metrics(e.cfg.Metrics(), e.cfg.Begun, time.Now())}}}}}, "rejectedDataPoints")
	return err
}

// post sends one message. An answer that says to try again is an error; one that refuses
// for good refuses all of it (specs/otlp, "OTLP/HTTP Response").
func (e *Exporter) post(path string, message any, rejected string) (refused int64, err error) {
	body, err := json.Marshal(message)
	if err != nil {
		return 0, err
	}
	q, err := http.NewRequestWithContext(e.ctx, http.MethodPost, e.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("User-Agent", "agentjail/"+e.cfg.Version)
	a, err := e.client.Do(q)
	if err != nil {
		return 0, err
	}
	defer a.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer))
	if err != nil {
		return 0, err
	}
	switch a.StatusCode {
	case http.StatusOK:
		var ok struct {
			Partial map[string]json.RawMessage `json:"partialSuccess"`
		}
		if json.Unmarshal(answer, &ok) != nil {
			return 0, nil // an empty answer is a whole success
		}
		refused, _ = strconv.ParseInt(strings.Trim(string(ok.Partial[rejected]), `"`), 10, 64)
		return refused, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return 0, fmt.Errorf("the collector answers %s", a.Status)
	}
	return 1 << 62, nil
}
