// Package sigv4 reads and makes the signatures of requests to AWS: Signature Version 4,
// as the IAM User Guide describes it ("Create a signed AWS API request") and, where S3
// differs, the S3 API Reference ("Authenticating Requests (AWS Signature Version 4)").
//
// It is pure, and verifies nothing: what the agent signed with its placeholder is read
// for what was signed, and signed anew with the real key.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const (
	algorithm = "AWS4-HMAC-SHA256"

	// Unsigned stands for the digest of a body that the signature is not about.
	Unsigned = "UNSIGNED-PAYLOAD"

	// unsignedChunks is the same of a body in aws-chunked coding with a checksum behind
	// it: what the SDKs send to S3 over TLS.
	unsignedChunks = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
)

// Signature is what a request says of its signature.
type Signature struct {
	AccessKey     string
	Date          string // YYYYMMDD
	Region        string
	Service       string
	Time          string   // YYYYMMDD'T'HHMMSS'Z'
	SignedHeaders []string // in lower case
	Presigned     bool     // it stands in the query

	// Payload is the digest of the body as the request says it, or what stands for it;
	// "": it says none, and it has to be reckoned.
	Payload string
}

// ErrUnsupported is of signatures that can't be made anew.
var ErrUnsupported = errors.New("the request's AWS signature is of a kind that can't be made anew")

const (
	digits  = "0123456789"
	letters = "abcdefghijklmnopqrstuvwxyz"
)

// of says whether a text has so many characters, all of them of a set. Regular
// expressions would cost each start of the program more than they are worth here.
func of(s, set string, least, most int) bool {
	return len(s) >= least && len(s) <= most && strings.Trim(s, set) == ""
}

func isDate(s string) bool { return of(s, digits, 8, 8) }

// isTime is of YYYYMMDD'T'HHMMSS'Z'.
func isTime(s string) bool {
	return len(s) == 16 && isDate(s[:8]) && s[8] == 'T' && of(s[9:15], digits, 6, 6) && s[15] == 'Z'
}

func isName(s string) bool { return of(s, letters+digits+"-", 1, 64) }
func isKey(s string) bool  { return of(s, letters+strings.ToUpper(letters)+digits+"_.~+-", 1, 128) }
func isHash(s string) bool { return of(s, digits+"abcdef", 64, 64) }

// Read finds the signature of a request; nil where it has none.
func Read(r *http.Request) (*Signature, error) {
	auth := r.Header.Values("Authorization")
	inHeader := len(auth) > 0 && strings.HasPrefix(auth[0], "AWS")
	params, err := query(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	inQuery := slices.ContainsFunc(params, func(p param) bool {
		name := strings.ToLower(p.name)
		return name == "x-amz-algorithm" || name == "x-amz-credential" || name == "x-amz-signature" || name == "awsaccesskeyid"
	})
	switch {
	case inHeader && inQuery || len(auth) > 1:
		return nil, errors.New("the request has two signatures")
	case inHeader:
		return readHeader(auth[0], r.Header)
	case inQuery:
		return readQuery(params, r.Header)
	}
	return nil, nil
}

func readHeader(auth string, h http.Header) (*Signature, error) {
	kind, rest, _ := strings.Cut(auth, " ")
	if kind != algorithm {
		return nil, fmt.Errorf("%w: %q; only %s is", ErrUnsupported, clip(kind), algorithm)
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := fields[name]; !ok || twice {
			return nil, errors.New("the Authorization header is malformed")
		}
		fields[name] = value
	}
	times := h.Values("X-Amz-Date")
	if len(times) != 1 {
		return nil, fmt.Errorf("%w: it has %d X-Amz-Date headers", ErrUnsupported, len(times))
	}
	s := &Signature{Time: times[0]}
	payload := h.Values("X-Amz-Content-Sha256")
	if len(payload) > 1 {
		return nil, errors.New("the request has two X-Amz-Content-Sha256 headers")
	}
	if len(payload) == 1 {
		s.Payload = payload[0]
	}
	return s, s.read(fields["Credential"], fields["SignedHeaders"])
}

func readQuery(params []param, h http.Header) (*Signature, error) {
	get := func(name string) string {
		value, n := "", 0
		for _, p := range params {
			if p.name == name {
				value = p.value
				n++
			}
		}
		if n != 1 {
			return ""
		}
		return value
	}
	if kind := get("X-Amz-Algorithm"); kind != algorithm {
		return nil, fmt.Errorf("%w: %q in the query; only %s is, once", ErrUnsupported, clip(kind), algorithm)
	}
	s := &Signature{Time: get("X-Amz-Date"), Presigned: true, Payload: h.Get("X-Amz-Content-Sha256")}
	err := s.read(get("X-Amz-Credential"), get("X-Amz-SignedHeaders"))
	if err == nil && s.Payload == "" && strings.HasPrefix(s.Service, "s3") {
		s.Payload = Unsigned // S3 API Reference, "Authenticating Requests: Using Query Parameters"
	}
	return s, err
}

// read takes the credential's scope apart: key/date/region/service/aws4_request.
func (s *Signature) read(credential, headers string) error {
	scope := strings.Split(credential, "/")
	if len(scope) != 5 || scope[4] != "aws4_request" || !isKey(scope[0]) || !isDate(scope[1]) || !isName(scope[2]) || !isName(scope[3]) {
		return errors.New("the signature's credential is malformed")
	}
	s.AccessKey, s.Date, s.Region, s.Service = scope[0], scope[1], scope[2], scope[3]
	if !isTime(s.Time) || !strings.HasPrefix(s.Time, s.Date) {
		return errors.New("the signature's time is malformed, or of another day than its scope")
	}
	s.SignedHeaders = strings.Split(headers, ";")
	if !slices.Contains(s.SignedHeaders, "host") {
		return errors.New("the signature does not say for which host it is")
	}
	switch {
	case s.Payload == "", s.Payload == Unsigned, s.Payload == unsignedChunks, isHash(s.Payload):
		return nil
	case strings.HasPrefix(s.Payload, "STREAMING-"):
		return fmt.Errorf("%w: each piece of its body is signed for itself (%s); let the client send %s", ErrUnsupported, clip(s.Payload), Unsigned)
	}
	return errors.New("the request's X-Amz-Content-Sha256 is no digest")
}

// Key is the real key.
type Key struct {
	AccessKey    string
	Secret       []byte
	SessionToken string // "": none
}

// Sign signs a request anew, as it is about to be sent to its host. payload is the
// digest of its body where the signature says none.
func (s *Signature) Sign(r *http.Request, host string, k Key, payload string) error {
	if s.Payload != "" {
		payload = s.Payload
	}
	if payload == "" {
		return errors.New("the body's digest is not known")
	}
	credential := k.AccessKey + "/" + s.scope()
	if s.Presigned {
		params, err := query(r.URL.RawQuery)
		if err != nil {
			return err
		}
		params = slices.DeleteFunc(params, func(p param) bool {
			switch p.name {
			case "X-Amz-Credential", "X-Amz-Security-Token", "X-Amz-SignedHeaders", "X-Amz-Signature":
				return true
			}
			return false
		})
		signed := s.headers(r.Header)
		params = append(params, param{"X-Amz-Credential", credential}, param{"X-Amz-SignedHeaders", strings.Join(signed, ";")})
		if k.SessionToken != "" {
			params = append(params, param{"X-Amz-Security-Token", k.SessionToken})
		}
		r.URL.RawQuery = encode(params)
		request, err := s.canonical(r, host, signed, payload)
		if err != nil {
			return err
		}
		r.URL.RawQuery += "&X-Amz-Signature=" + s.sign(request, k.Secret)
		return nil
	}
	r.Header.Del("X-Amz-Security-Token")
	if k.SessionToken != "" {
		r.Header.Set("X-Amz-Security-Token", k.SessionToken)
	}
	signed := s.headers(r.Header)
	request, err := s.canonical(r, host, signed, payload)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", fmt.Sprintf("%s Credential=%s, SignedHeaders=%s, Signature=%s", algorithm, credential, strings.Join(signed, ";"), s.sign(request, k.Secret)))
	return nil
}

func (s *Signature) scope() string {
	return s.Date + "/" + s.Region + "/" + s.Service + "/aws4_request"
}

// headers are those that are signed: the host, every X-Amz- header, since some services
// refuse one that is not, and of the others that the request says those that are there.
// What the connection sets by itself is left out: it may be another on the way.
func (s *Signature) headers(h http.Header) []string {
	list := []string{"host"}
	for name, values := range h {
		name = strings.ToLower(name)
		if len(values) == 0 || name == "host" {
			continue
		}
		if strings.HasPrefix(name, "x-amz-") || slices.Contains(s.SignedHeaders, name) && !ofConnection(name) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

func ofConnection(name string) bool {
	switch name {
	case "authorization", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "expect", "keep-alive", "accept-encoding", "user-agent":
		return true
	}
	return false
}

// canonical is the canonical request.
func (s *Signature) canonical(r *http.Request, host string, signed []string, payload string) (string, error) {
	path, err := s.path(r.URL.EscapedPath())
	if err != nil {
		return "", err
	}
	params, err := query(r.URL.RawQuery)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(r.Method + "\n" + path + "\n" + encode(params) + "\n")
	for _, name := range signed {
		values := []string{host}
		if name != "host" {
			values = r.Header.Values(name)
		}
		for i, v := range values {
			values = slices.Clone(values)
			values[i] = strings.Join(strings.Fields(v), " ")
		}
		b.WriteString(name + ":" + strings.Join(values, ",") + "\n")
	}
	b.WriteString("\n" + strings.Join(signed, ";") + "\n" + payload)
	return b.String(), nil
}

// path is the canonical path. S3 takes a path as it is, encoded once; every other
// service encodes once more what is in the request.
func (s *Signature) path(escaped string) (string, error) {
	if escaped == "" {
		escaped = "/"
	}
	if !strings.HasPrefix(s.Service, "s3") {
		return escape(escaped, true), nil
	}
	plain, err := url.PathUnescape(escaped)
	if err != nil {
		return "", errors.New("the request's path is malformed")
	}
	return escape(plain, true), nil
}

// sign makes the string to sign of a canonical request and signs it.
func (s *Signature) sign(request string, secret []byte) string {
	sum := sha256.Sum256([]byte(request))
	text := algorithm + "\n" + s.Time + "\n" + s.scope() + "\n" + hex.EncodeToString(sum[:])
	key := append([]byte("AWS4"), secret...)
	for _, part := range []string{s.Date, s.Region, s.Service, "aws4_request"} {
		next := digest(key, part)
		clear(key)
		key = next
	}
	signature := digest(key, text)
	clear(key)
	return hex.EncodeToString(signature)
}

func digest(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text)) // hash.Hash never fails
	return h.Sum(nil)
}
