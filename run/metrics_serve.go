package run

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/agentjail/agentjail/profiles/mutate"
)

// metricsServer serves a run's metrics while it goes on.
type metricsServer struct {
	l   net.Listener
	srv *http.Server
}

// checkMetrics refuses an address that other machines reach, unless the caller insists:
// the metrics say what a run does, to whoever asks.
func checkMetrics(addr string, remote bool) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("--metrics %s: %w\nhint: --metrics 127.0.0.1:9464", addr, err)
	}
	if ip, err := netip.ParseAddr(host); err == nil && (ip.Unmap().IsLoopback() || remote) {
		return nil
	} else if err == nil {
		return fmt.Errorf("--metrics %s can be reached from other machines\nhint: name 127.0.0.1 or [::1]; --metrics-remote insists", addr)
	}
	return fmt.Errorf("--metrics %s: %q is no address\nhint: --metrics 127.0.0.1:9464", addr, host)
}

// serveMetrics opens the port before anything is started: one that is taken refuses the
// run. From the jail nothing of the host's loopback is reached, and nothing else of the
// host's that no rule names.
func (s *session) serveMetrics() error {
	if s.opt.Metrics == "" {
		return nil
	}
	l, err := net.Listen("tcp", s.opt.Metrics)
	if err != nil {
		return fmt.Errorf("--metrics: %w", err)
	}
	m := &metricsServer{l: l, srv: &http.Server{Handler: http.HandlerFunc(s.answerMetrics), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second,
		WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10}}
	s.info.Metrics = "http://" + l.Addr().String() + "/metrics"
	go func() { _ = m.srv.Serve(l) }() // its error is that it was closed
	s.stack.push("close the metrics port", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if m.srv.Shutdown(ctx) != nil {
			return m.srv.Close()
		}
		return nil
	})
	if !s.opt.Quiet {
		fmt.Fprintf(s.host.Stderr, "agentjail: metrics at %s\n", s.info.Metrics)
	}
	return writeInfo(s.state, s.info)
}

// answerMetrics answers one request.
func (s *session) answerMetrics(w http.ResponseWriter, r *http.Request) {
	// A page in a browser that has a name for this address is not who is meant (DNS
	// rebinding): it would send that name.
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" && !s.opt.MetricsRemote && !mutate.Off(mutate.Host) {
		http.Error(w, "ask by address", http.StatusForbidden)
		return
	}
	if r.URL.Path != "/metrics" || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	// The watch begins with the agent, and until then there is nothing to tell.
	if st, ok := s.liveStats(); ok {
		_, _ = w.Write(metricsText(st, nil))
	}
}
