package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"

	"github.com/agentjail/agentjail/audit"
)

// What can be put into a rule as it stands: a name, a method and a path that have nothing
// in them that HCL or a pattern would read as more. Their lengths are looked at apart: a
// counted repetition is compiled once for each count.
var (
	plainHostname = lazy(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)
	plainMethod   = lazy(`^[A-Z]{3,10}$`)
	plainPathname = lazy(`^/[A-Za-z0-9/._~-]*$`)
)

// lazy compiles a pattern when it is first asked for: each run starts this program three
// times, and makes no report.
func lazy(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

// plainHost: a name has at most 253 characters (RFC 1035 section 2.3.4, less the root).
func plainHost(name string) bool { return len(name) <= 253 && plainHostname().MatchString(name) }

func plainPath(path string) bool { return len(path) <= 200 && plainPathname().MatchString(path) }

// advise says whether a rule could let a refused attempt through, and which. It is for a
// person to decide: what an agent asked for is no reason to allow it.
func advise(e audit.Event, v audit.View) (advice string, add []string) {
	if v.Rule != "" {
		return "The profile refuses it in " + v.Rule + ": add nothing, unless that line is wrong.", nil
	}
	switch v.Kind {
	case "connect", "dns":
		name := strings.TrimSuffix(cmp.Or(e.Dst.Hostname, e.Query.Hostname), ".")
		if v.Kind == "dns" {
			name = strings.TrimSuffix(e.Query.Hostname, ".")
		}
		if name == "" {
			return adviseAddress(e)
		}
		if !plainHost(name) || !strings.Contains(name, ".") {
			return "This is no name of a public host: leave it refused.", nil
		}
		label := name
		if p := e.Dst.Port; v.Kind == "connect" && p != 0 && p != 443 {
			label = address(name, p)
		}
		return "No rule is about this host. Add one only if the task needs it.", []string{"network {", fmt.Sprintf("  allow %q {}", label), "}"}
	case "http":
		q := e.HTTPRequest
		if !plainHost(q.URL.Hostname) || !plainMethod().MatchString(q.Method) || !plainPath(q.URL.Path) {
			return "No rule is about this request, and it is an unusual one: look at it first.", nil
		}
		return "The host is allowed, this request is not. Add it to the host's rule only if the task needs it.",
			[]string{"network {", fmt.Sprintf("  allow %q {", q.URL.Hostname), fmt.Sprintf("    request %q %q {}", q.Method, q.URL.Path), "  }", "}"}
	}
	return "No rule of a profile is about this: leave it refused.", nil
}

func adviseAddress(e audit.Event) (advice string, add []string) {
	ip, err := netip.ParseAddr(e.Dst.IP)
	if err != nil {
		return "Nobody knows what it was for: leave it refused.", nil
	}
	if ip = ip.Unmap(); !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return "This address is of the machine itself, its network or a cloud's metadata service: leave it refused.", nil
	}
	return "The agent dialled an address, not a name, so nobody vouches for whose it is: leave it refused.", nil
}
