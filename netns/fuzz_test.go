package netns

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/profiles"
)

// FuzzReadFrame reads what a gateway that an attacker has taken over may send to the
// supervisor.
func FuzzReadFrame(f *testing.F) {
	for _, body := range []string{
		`{"dns":{"Name":"a.example"}}`,
		`{"ready":{"layers":[{"Name":"x"}]}}`,
		`{"question":{"id":1,"reserve":{"charges":[]}}}`,
		`{"dns":{},"http":{}}`,
		`{"finding":{"Title":"x","Process":{"PID":1}}}`,
	} {
		f.Add(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	}
	f.Add(binary.BigEndian.AppendUint32(nil, maxReport+1))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bytes.NewReader(stream)
		for {
			var m report
			before := r.Len()
			if err := readFrame(r, &m, maxReport); err != nil {
				return
			}
			if used := before - r.Len(); used < 4 || used > 4+maxReport {
				t.Fatalf("a frame of %d bytes", used)
			}
			rec, err := m.record()
			fields := 0
			for _, set := range []bool{m.Connect != nil, m.Closed != nil, m.DNS != nil, m.HTTP != nil, m.Limit != nil, m.Finding != nil} {
				if set {
					fields++
				}
			}
			if (err == nil) != (rec != nil) || err == nil && (fields != 1 || m.Ready != nil) {
				t.Errorf("%d records became %v, %v", fields, rec, err)
			}
		}
	})
}

// FuzzJudgeRequest judges what an agent says to a host that is looked into. A request
// that passes is for that host and port, whichever way a server reads it.
func FuzzJudgeRequest(f *testing.F) {
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n",
		"GET /a/%2e%2e/b?x=1 HTTP/1.1\r\nHost: ALLOWED.example.:443\r\nConnection: close\r\n\r\n",
		"GET http://evil.example/ HTTP/1.1\r\nHost: allowed.example\r\n\r\n",
		"CONNECT evil.example:443 HTTP/1.1\r\nHost: allowed.example\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: allowed.example\r\nUpgrade: h2c\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: allowed.example\r\nX-HTTP-Method-Override: DELETE\r\nContent-Length: 0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: allowed.example@evil.example\r\n\r\n",
	} {
		f.Add([]byte(request))
	}
	const name, port = "allowed.example", 443
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		path := rawPath(r)
		if strings.Contains(path, "?") {
			t.Errorf("the path %q has a query", path)
		}
		_ = overrides(r)
		upgrade(r)
		if u := r.Header.Get("Upgrade"); u != "" && !strings.EqualFold(u, "websocket") {
			t.Errorf("an upgrade to %q is passed on", u)
		}
		if judgeRequest(r, name, netip.Addr{}, port, "https") != "" {
			return
		}
		host := strings.TrimSuffix(strings.ToLower(r.Host), ":443")
		if asked, _, err := profiles.CanonicalHost(host); err != nil || asked != name {
			t.Errorf("a request for %q passed", r.Host)
		}
		if r.Method == http.MethodConnect || r.RequestURI != "*" && !strings.HasPrefix(r.RequestURI, "/") {
			t.Errorf("%s %q passed", r.Method, r.RequestURI)
		}
		for _, h := range r.Header["Connection"] {
			for token := range strings.SplitSeq(strings.ToLower(h), ",") {
				if token = strings.TrimSpace(token); token == "host" || token == "authorization" {
					t.Errorf("Connection may take %q out", token)
				}
			}
		}
	})
}
