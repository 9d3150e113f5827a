package netns

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
)

// judgeRequest says why a request is refused whatever the rules say, or nothing.
// net/http and strictConn have refused before what can't be read in one way; this is
// about whom the request is for.
func judgeRequest(r *http.Request, name string, addr netip.Addr, port uint16, scheme string) string {
	if mutate.Off(mutate.Host) {
		return ""
	}
	switch {
	case r.Method == http.MethodConnect:
		return "CONNECT would open a connection to another host"
	case !strings.HasPrefix(r.RequestURI, "/") && r.RequestURI != "*":
		return "the request line has a whole URL in it, as if this were a proxy"
	case scheme == "http" && r.ProtoMajor != 1:
		return "the rule wants HTTP/1"
	case r.Host == "":
		return "the request has no Host"
	}
	host, p := r.Host, defaultPort(scheme)
	if h, hp, err := net.SplitHostPort(r.Host); err == nil {
		host, p = h, hp
	}
	asked, literal, err := profiles.CanonicalHost(host)
	switch {
	case err != nil:
		return fmt.Sprintf("the request's Host: %v", err)
	case name != "" && asked != name:
		return fmt.Sprintf("the request's Host %q is not %s, which was asked for", clip(r.Host), name)
	case name == "" && literal != addr:
		return fmt.Sprintf("the request's Host %q is not %s, which was asked for", clip(r.Host), addr)
	case p != strconv.Itoa(int(port)):
		return fmt.Sprintf("the request's Host %q has another port than %d", clip(r.Host), port)
	}
	// HTTP/2 has :authority, and clients may send a Host header beside it (RFC 9113
	// section 8.3.1), which some servers look at instead.
	for _, h := range r.Header.Values("Host") {
		if h != r.Host {
			return fmt.Sprintf("the request's Host header %q is not its :authority %q", clip(h), clip(r.Host))
		}
	}
	for _, h := range r.Header.Values("Connection") {
		for token := range strings.SplitSeq(h, ",") {
			if token = asciiLower(strings.TrimSpace(token)); !slices.Contains(connectionTokens(), token) {
				return fmt.Sprintf("the Connection header would take %q out of the request behind the rules' back", clip(token))
			}
		}
	}
	return ""
}

// connectionTokens are what clients write into Connection; any other names a header
// that would not be sent on (RFC 9110 section 7.6.1).
func connectionTokens() []string {
	return []string{"", "close", "keep-alive", "upgrade", "te", "http2-settings"}
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// overrides says which part of a request would make some servers act on another
// method or path than those that the rules are about; "" for none.
func overrides(r *http.Request) string {
	for name := range r.Header {
		switch strings.ReplaceAll(asciiLower(name), "_", "-") {
		case "x-http-method-override", "x-http-method", "x-method-override", "x-method", "x-original-url", "x-rewrite-url", "x-original-uri", "x-forwarded-uri", "x-original-method", "x-forwarded-method":
			return "the header " + clip(name)
		}
	}
	if q, err := url.ParseQuery(r.URL.RawQuery); err == nil {
		for _, name := range []string{"_method", "_HttpMethod", "x-http-method-override"} {
			if _, ok := q[name]; ok {
				return "the parameter " + name
			}
		}
	}
	return ""
}

// rawPath is the path of a request as it was sent.
func rawPath(r *http.Request) string {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	return path
}

// upgrade is what a request wants the connection to become; only WebSocket is carried
// out (RFC 6455). Any other wish is not passed on, which a server may do as well
// (RFC 9110 section 7.8): behind "h2c" requests would come that nobody judges.
func upgrade(r *http.Request) {
	if u := r.Header.Values("Upgrade"); len(u) == 1 && asciiLower(u[0]) == "websocket" && r.Method == http.MethodGet && r.ProtoMajor == 1 {
		return
	}
	r.Header.Del("Upgrade")
	r.Header.Del("HTTP2-Settings")
}
