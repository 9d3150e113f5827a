package run_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

// requests counts what reached a server of the host's.
type requests struct {
	mu   sync.Mutex
	seen []string
}

func (r *requests) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.seen = append(r.seen, req.Host+req.URL.Path)
	r.mu.Unlock()
	fmt.Fprintf(w, "hello from %s\n", req.Host)
}

func (r *requests) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.seen...)
}

// TestJailUpstream is the allowed way out: a name that no resolver knows, a real
// TLS server on the host's loopback, no proxy variable, the certificate in the
// jail's own bundle.
func TestJailUpstream(t *testing.T) {
	needTool(t, "curl")
	ca, served := newAuthority(t), &requests{}
	four := ca.serve(t, "allowed.example", "127.0.0.1:0", served)
	six := ca.serve(t, "six.example", "[::1]:0", served)
	c := newCaller(t, fmt.Sprintf(`
network {
  allow "allowed.example" {
    upstream    = %q
    upstream_ca = %q
  }
  allow "six.example:8443" {
    upstream    = %q
    upstream_ca = %[2]q
  }
}
`, four, ca.file, six))
	// A hostile or stale proxy of the caller's own shell is not passed on.
	c.env = append(c.env, "NO_PROXY=*", "LD_PRELOAD=/nonexistent/agentjail.so")
	o := c.must("sh", "-c", `set -e
		env | grep -i _proxy && exit 9
		curl -sS -4 https://allowed.example/four
		curl -sS -6 https://allowed.example/six
		curl -sS -4 https://six.example:8443/high
		curl -sS -6 https://six.example:8443/high6`)
	want := "hello from allowed.example\nhello from allowed.example\nhello from six.example:8443\nhello from six.example:8443\n"
	if o.stdout != want {
		t.Errorf("curl printed %q, want %q\nstderr: %s", o.stdout, want, o.stderr)
	}
	if got := served.all(); len(got) != 4 {
		t.Errorf("the servers got %q, want 4 requests", got)
	}
	events := o.events()
	wantEvent(t, events, "the allowed connection, with its rule", func(v audit.View, e audit.Event) bool {
		return v.Kind == "connect" && v.Verdict == "allowed" && e.Dst.Hostname == "allowed.example" && e.Dst.Port == 443 && v.Rule == "test.hcl:3"
	})
	wantEvent(t, events, "the redirected connection", func(v audit.View, e audit.Event) bool {
		return v.Kind == "connect" && v.Verdict == "allowed" && e.Dst.Hostname == "six.example" && e.Dst.Port == 8443
	})
	wantEvent(t, events, "the allowed name", func(v audit.View, e audit.Event) bool {
		return v.Kind == "dns" && v.Verdict == "allowed" && e.Query.Hostname == "allowed.example"
	})
}

// TestJailNetworkRefusals tries the ways around the names that a profile allows.
func TestJailNetworkRefusals(t *testing.T) {
	needTool(t, "curl")
	ca, served := newAuthority(t), &requests{}
	upstream := ca.serve(t, "allowed.example", "127.0.0.1:0", served)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	go func() { _ = http.Serve(plain, served) }()
	c := newCaller(t, fmt.Sprintf(`
network {
  allow "allowed.example" {
    upstream    = %q
    upstream_ca = %q
  }
}
`, upstream, ca.file))
	hostPort := plain.Addr().String()
	if code, err := runQuiet("curl", "-sS", "--noproxy", "*", "http://"+hostPort+"/unjailed"); err != nil || code != 0 {
		t.Fatalf("the host's own server can't be reached from the host: %d %v", code, err)
	}

	attempts := []struct {
		name string
		args string
		want string // curl's exit code
		kind string // of the record; "" for the jail's own loopback, which is the agent's affair
		see  func(audit.View, audit.Event) bool
	}{
		{"by address", "https://93.184.216.34/", "35", "connect", ip("93.184.216.34", 443)},
		{"by IPv6 address", "https://[2001:db8::1]/", "35", "connect", ip("2001:db8::1", 443)},
		{"another port", "http://93.184.216.34/", "7", "connect", ip("93.184.216.34", 80)},
		{"metadata", "http://169.254.169.254/latest/meta-data/", "7", "connect", ip("169.254.169.254", 80)},
		{"metadata over TLS", "-k https://169.254.169.254/", "35", "connect", ip("169.254.169.254", 443)},
		{"a private address", "http://10.1.2.3:8080/", "7", "connect", ip("10.1.2.3", 8080)},
		{"a refused name", "https://refused.example/", "6", "dns", name("refused.example")},
		{"a name below the allowed one", "https://sub.allowed.example/", "6", "dns", name("sub.allowed.example")},
		{"the wrong SNI", "-k --connect-to evil.example:443:allowed.example:443 https://evil.example/", "35", "connect",
			func(_ audit.View, e audit.Event) bool {
				return e.Dst.Hostname == "allowed.example" && strings.Contains(e.StatusDetail, "evil.example")
			}},
		{"plain HTTP to a TLS port", "http://allowed.example:443/", "22", "connect",
			func(_ audit.View, e audit.Event) bool { return e.Dst.Hostname == "allowed.example" }},
		{"the right SNI at another address", "-k --resolve allowed.example:443:203.0.113.9 https://allowed.example/", "35", "connect", ip("203.0.113.9", 443)},
		{"the host's loopback", "http://" + hostPort + "/", "7", "", nil},
		{"the host's loopback by a name", "http://localhost:" + hostPort[strings.LastIndexByte(hostPort, ':')+1:] + "/", "7", "", nil},
	}
	var script strings.Builder
	for _, a := range attempts {
		fmt.Fprintf(&script, "curl -sS -f -o /dev/null --max-time 20 %s 2>/dev/null; echo $?\n", a.args)
	}
	script.WriteString("curl -sS https://allowed.example/last >/dev/null; echo $?\n")
	o := c.must("sh", "-c", script.String())
	events := o.events()
	codes := strings.Fields(o.stdout)
	if len(codes) != len(attempts)+1 || codes[len(attempts)] != "0" {
		t.Fatalf("curl's exit codes: %q, want %d and a 0 at the end\n%s", codes, len(attempts), o.stderr)
	}
	for i, a := range attempts {
		t.Run(a.name, func(t *testing.T) {
			if codes[i] != a.want {
				t.Errorf("curl %s: exit code %s, want %s", a.args, codes[i], a.want)
			}
			if a.kind != "" {
				wantEvent(t, events, a.name, func(v audit.View, e audit.Event) bool {
					return v.Kind == a.kind && v.Verdict == "blocked" && a.see(v, e)
				})
			}
		})
	}
	if got := served.all(); len(got) != 2 { // the unjailed one and the last
		t.Errorf("the host's servers got %q", got)
	}
}

func ip(addr string, port uint16) func(audit.View, audit.Event) bool {
	return func(_ audit.View, e audit.Event) bool { return e.Dst.IP == addr && e.Dst.Port == port }
}

func name(host string) func(audit.View, audit.Event) bool {
	return func(_ audit.View, e audit.Event) bool { return e.Query.Hostname == host }
}
