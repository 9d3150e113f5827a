package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// The origin's names, of which the second has a secret: RFC 2606, nobody's.
const (
	httpsName  = "https.bench.example"
	secretName = "secret.bench.example"
)

// httpsBench is what the part measures with: an origin, a bare reverse proxy, and
// mitmproxy where it is installed.
type httpsBench struct {
	*bench
	tool    string
	profile string
	running []*exec.Cmd
}

// way is one path of requests, by the flags of `https get` for it.
type way struct {
	sample string
	err    error
	host   string // in the URL
	flags  []string
	jailed bool
}

// benchHTTPS measures requests that the gateway looks into. What any such thing costs
// is in a bare reverse proxy, which does TLS on both sides and nothing else.
func benchHTTPS(ctx context.Context, b *bench) (table []comparison, err error) {
	h := &httpsBench{bench: b}
	defer h.stop()
	ways, err := h.start(ctx)
	if err != nil {
		return nil, err
	}
	measures := []struct {
		what, figure string
		unit         unit
		n            int
		size         int64
		bare         target
	}{
		{"requests", "requests", perSecond, 16, 500, target{atLeast: 0.7}},
		{"bytes", "bytes", bytesPerSecond, 2, 64 << 20, target{atLeast: 0.7}},
		{"one request", "latency", seconds, 1, 500, target{}},
	}
	for _, version := range []string{"HTTP/1.1", "HTTP/2"} {
		for _, m := range measures {
			samples := make([]*sample, len(ways))
			for i, w := range ways {
				samples[i] = &sample{name: w.sample, err: w.err}
			}
			for range b.rounds {
				for i, w := range ways {
					if samples[i].err != nil {
						continue
					}
					args := append([]string{h.tool, "get", "-figure", m.figure, "-n", strconv.Itoa(m.n), "-t", b.duration.String(),
						fmt.Sprintf("-h1=%v", version == "HTTP/1.1")}, w.flags...)
					v, err := h.figure(ctx, w, append(args, fmt.Sprintf("https://%s/bytes/%d", w.host, m.size)))
					samples[i].add([]float64{v}, err)
				}
			}
			what := m.what + ", " + version
			if m.n > 1 {
				what += fmt.Sprintf(", %d at once", m.n)
			}
			for _, jail := range []int{0, 1} {
				table = append(table,
					comparison{what, m.unit, samples[jail], samples[2], m.bare},
					comparison{what, m.unit, samples[jail], samples[3], target{}},
					comparison{what, m.unit, samples[jail], samples[4], target{}})
			}
		}
	}
	return table, nil
}

func (h *httpsBench) figure(ctx context.Context, w way, argv []string) (float64, error) {
	if w.jailed {
		argv = append([]string{h.agentjail, "run", "--profile", h.profile, "--workspace", h.project, "--"}, argv...)
	}
	out, err := h.output(ctx, argv...)
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

// start brings everything up: the two jailed ways first, then the peers.
func (h *httpsBench) start(ctx context.Context) ([]way, error) {
	h.tool = filepath.Join(h.project, "https")
	if err := build(ctx, h.tool, []string{"CGO_ENABLED=0"}, "./testdata/bench/https"); err != nil {
		return nil, err
	}
	// Outside the workspace: the jail's client has the run's own CA, and no other.
	certs := filepath.Join(h.home, "certs")
	if err := os.Mkdir(certs, 0o700); err != nil {
		return nil, err
	}
	for _, path := range []string{h.tool, certs} {
		if err := h.own(path); err != nil {
			return nil, err
		}
	}
	if _, err := h.output(ctx, h.tool, "certs", certs, httpsName, secretName); err != nil {
		return nil, err
	}
	origin, err := h.listen(ctx, h.tool, "serve", certs, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	bare, err := h.listen(ctx, h.tool, "proxy", certs, "127.0.0.1:0", httpsName, origin)
	if err != nil {
		return nil, err
	}
	ca := filepath.Join(certs, "ca.pem")
	h.profile = filepath.Join(h.folder, "https.hcl")
	text := fmt.Sprintf(`
network {
  allow %[1]q {
    ports       = [443]
    upstream    = %[2]q
    upstream_ca = %[3]q
    request "GET" "/**" {}
  }
  allow %[4]q {
    ports       = [443]
    upstream    = %[2]q
    upstream_ca = %[3]q
    secret      = secret.key
    request "GET" "/**" {}
  }
}
secret "key" {
  env    = "BENCH_KEY"
  header = "x-api-key"
}
`, httpsName, origin, ca, secretName)
	h.env = append(h.env, "BENCH_KEY=sk-bench-0123456789abcdef0123456789")
	if err := os.WriteFile(h.profile, []byte(text), 0o644); err != nil {
		return nil, err
	}
	mitm, mitmErr := h.mitmproxy(ctx, certs, origin)
	return []way{
		{sample: "request rules", host: httpsName, jailed: true},
		{sample: "rules and a secret", host: secretName, jailed: true},
		{sample: "bare Go proxy", host: httpsName, flags: []string{"-ca", ca, "-to", bare}},
		{sample: "mitmproxy", host: httpsName, err: mitmErr, flags: []string{"-ca", filepath.Join(certs, "mitm", "mitmproxy-ca-cert.pem"), "-to", mitm}},
		{sample: "no proxy", host: httpsName, flags: []string{"-ca", ca, "-to", origin}},
	}, nil
}

// server is a command in a session of its own, as the gateway and the jail are: on a
// busy machine the kernel shares the processor out by session (sched(7), "The autogroup
// feature"), and what shares the client's would be woken at its expense.
func (h *httpsBench) server(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := h.command(ctx, argv...)
	attr := syscall.SysProcAttr{}
	if h.as != nil {
		attr = *h.as
	}
	attr.Setsid = true
	cmd.SysProcAttr = &attr
	return cmd
}

// listen starts a server that prints its address.
func (h *httpsBench) listen(ctx context.Context, argv ...string) (string, error) {
	cmd := h.server(ctx, argv...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", err
	}
	h.running = append(h.running, cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return strings.TrimSpace(line), nil
}

// mitmproxy starts mitmdump as a reverse proxy, if there is one.
func (h *httpsBench) mitmproxy(ctx context.Context, certs, origin string) (string, error) {
	if err := installed("mitmdump"); err != nil {
		return "", err
	}
	port, err := freePort()
	if err != nil {
		return "", err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	cmd := h.server(ctx, "mitmdump", "-q", "--mode", "reverse:https://"+origin, "--listen-host", "127.0.0.1", "--listen-port", strconv.Itoa(int(port)),
		"--set", "confdir="+filepath.Join(certs, "mitm"), "--set", "ssl_verify_upstream_trusted_ca="+filepath.Join(certs, "ca.pem"), "--set", "keep_host_header=true")
	if err := cmd.Start(); err != nil {
		return "", err
	}
	h.running = append(h.running, cmd)
	for range 300 {
		c, err := net.Dial("tcp", address)
		if err == nil {
			return address, c.Close()
		}
		if _, err := h.output(ctx, "sleep", "0.1"); err != nil {
			return "", err
		}
	}
	return "", errors.New("mitmdump does not listen")
}

func (h *httpsBench) stop() {
	for _, cmd := range h.running {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}
