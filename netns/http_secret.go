package netns

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/agentjail/agentjail/profiles/mutate"
)

// vault has the secrets of a run and says where each may go.
type vault struct {
	secrets      []credential
	placeholders []needle // every form of every placeholder
	owners       []string // the secrets' names, by placeholders
}

// credential is a secret and its value.
type credential struct {
	Secret
	value []byte // in the memory of Keys
	forms []needle
}

func newVault(secrets []Secret, values [][]byte) (*vault, error) {
	if len(secrets) != len(values) {
		return nil, fmt.Errorf("%d secrets and %d values", len(secrets), len(values))
	}
	v := &vault{}
	for i, s := range secrets {
		if len(s.Placeholder) != len(values[i]) || s.Placeholder == string(values[i]) {
			return nil, fmt.Errorf("the secret %q has no fitting placeholder", s.Name)
		}
		v.secrets = append(v.secrets, credential{s, values[i], needles(values[i], s.Placeholder)})
		for _, n := range needles([]byte(s.Placeholder), strings.Repeat("*", len(s.Placeholder))) {
			v.placeholders, v.owners = append(v.placeholders, n), append(v.owners, s.Name)
		}
	}
	return v, nil
}

// bound are the secrets that may go to a host.
func (v *vault) bound(names []string) (list []*credential) {
	for i := range v.secrets {
		if slices.Contains(names, v.secrets[i].Name) || mutate.Off(mutate.Binding) {
			list = append(list, &v.secrets[i])
		}
	}
	return list
}

// misplaced finds a placeholder where it is not put right: in another part of the
// request than the secret is for, or on its way to a host that it is not for. It says
// which secret and where; "" where all is well. Bodies are looked at as they pass.
func (v *vault) misplaced(r *http.Request, bound []*credential) (name, where string) {
	for i := range v.secrets {
		if mutate.Off(mutate.Binding) {
			break
		}
		s := &v.secrets[i]
		if where := s.misplaced(r, slices.Contains(bound, s)); where != "" {
			return s.Name, where
		}
	}
	return "", ""
}

func (s *credential) misplaced(r *http.Request, bound bool) string {
	p := s.Placeholder
	path, query, _ := strings.Cut(r.RequestURI, "?")
	if decoded, err := url.PathUnescape(path); strings.Contains(path, p) || err == nil && strings.Contains(decoded, p) {
		return "the path"
	}
	for pair := range strings.SplitSeq(query, "&") {
		if inPair, own := s.inQuery(pair); inPair && !(own && bound) {
			return "the query"
		}
	}
	for name, values := range r.Header {
		for _, value := range values {
			own := bound && s.ownsHeader(asciiLower(name), value)
			if strings.Contains(value, p) && !own || strings.Contains(name, p) {
				return "the header " + clip(name)
			}
			user, password, ok := basicAuth(name, value)
			if ok && (strings.Contains(user, p) || strings.Contains(password, p)) && !(bound && s.Basic != "" && (user == p || password == p)) {
				return "the header " + clip(name)
			}
		}
	}
	return ""
}

// inQuery says whether a parameter has the placeholder, and whether it is the
// secret's own parameter with nothing else in it.
func (s *credential) inQuery(pair string) (has, own bool) {
	key, value, _ := strings.Cut(pair, "=")
	k, kerr := url.QueryUnescape(key)
	val, verr := url.QueryUnescape(value)
	has = strings.Contains(pair, s.Placeholder) || kerr == nil && strings.Contains(k, s.Placeholder) || verr == nil && strings.Contains(val, s.Placeholder)
	return has, has && kerr == nil && verr == nil && s.ownsParameter(k, val)
}

// basicAuth reads the credentials of RFC 7617 out of a header.
func basicAuth(name, value string) (user, password string, ok bool) {
	scheme, text, found := strings.Cut(strings.TrimSpace(value), " ")
	if !found || !strings.EqualFold(scheme, "basic") || !strings.HasSuffix(asciiLower(name), "authorization") {
		return "", "", false
	}
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		if b, err = base64.RawStdEncoding.DecodeString(strings.TrimSpace(text)); err != nil {
			return "", "", false
		}
	}
	user, password, _ = strings.Cut(string(b), ":")
	return user, password, true
}

// put replaces the placeholders of a request that was looked through by the values,
// and adds the secrets that go into every request. It names those that are in.
func put(out *http.Request, bound []*credential) (names []string) {
	for _, s := range bound {
		in := false
		switch {
		case s.Header != "":
			in = s.putHeader(out)
		case s.Query != "":
			in = s.putQuery(out)
		case s.Basic != "":
			in = s.putBasic(out)
		}
		if in {
			names = append(names, s.Name)
		}
	}
	return names
}

func (s *credential) putHeader(out *http.Request) bool {
	name := http.CanonicalHeaderKey(s.Header)
	if s.Inject {
		format := s.Format
		if format == "" {
			format = "%s"
		}
		out.Header[name] = []string{strings.Replace(format, "%s", string(s.value), 1)}
		return true
	}
	in := false
	for other := range out.Header {
		if mutate.Off(mutate.Binding) && strings.Contains(out.Header.Get(other), s.Placeholder) {
			name = other
		}
	}
	values := slices.Clone(out.Header[name])
	for i, v := range values {
		if strings.Contains(v, s.Placeholder) {
			values[i] = strings.ReplaceAll(v, s.Placeholder, string(s.value))
			in = true
		}
	}
	if in {
		out.Header[name] = values
	}
	return in
}

func (s *credential) putQuery(out *http.Request) bool {
	in := false
	var pairs []string
	if out.URL.RawQuery != "" {
		pairs = strings.Split(out.URL.RawQuery, "&")
	}
	own := url.QueryEscape(s.Query) + "=" + url.QueryEscape(string(s.value))
	pairs = slices.DeleteFunc(pairs, func(pair string) bool {
		key, _, _ := strings.Cut(pair, "=")
		k, err := url.QueryUnescape(key)
		return s.Inject && (err != nil || k == s.Query) // the agent's own is not sent
	})
	for i, pair := range pairs {
		if _, ok := s.inQuery(pair); ok {
			pairs[i], in = own, true
		}
	}
	if s.Inject {
		pairs, in = append(pairs, own), true
	}
	out.URL.RawQuery = strings.Join(pairs, "&")
	return in
}

func (s *credential) putBasic(out *http.Request) bool {
	encode := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	if s.Inject {
		out.Header["Authorization"] = []string{encode(s.Basic, string(s.value))}
		return true
	}
	for i, v := range out.Header["Authorization"] {
		user, password, ok := basicAuth("authorization", v)
		if !ok || user != s.Placeholder && password != s.Placeholder {
			continue
		}
		if user == s.Placeholder {
			user = string(s.value)
		}
		if password == s.Placeholder {
			password = string(s.value)
		}
		values := slices.Clone(out.Header["Authorization"])
		values[i] = encode(user, password)
		out.Header["Authorization"] = values
		return true
	}
	return false
}

// maxText keeps a report well below maxReport.
const maxText = 2048

// validText makes a text from outside fit for a record.
func validText(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "?")
}
