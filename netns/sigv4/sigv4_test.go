package sigv4

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// request reads a request as it is sent.
func request(t *testing.T, text string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n") + "\r\n\r\n")))
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return r
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// The published examples. "s3 docs": S3 API Reference, "Signature Calculations for the
// Authorization Header: Transferring Payload in a Single Chunk" and "Authenticating
// Requests: Using Query Parameters". "iam docs": IAM User Guide, ListUsers. The others
// are of the aws-sig-v4-test-suite that AWS published with the General Reference.
func TestPublished(t *testing.T) {
	const (
		docsKey    = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
		suiteKey   = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
		suite      = "AWS4-HMAC-SHA256 Credential=PLACEHOLDER/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=x"
		suiteHead  = "\nHost: example.amazonaws.com\nX-Amz-Date: 20150830T123600Z\nAuthorization: " + suite
		s3         = "AWS4-HMAC-SHA256 Credential=PLACEHOLDER/20130524/us-east-1/s3/aws4_request,SignedHeaders="
		s3Host     = "\nHost: examplebucket.s3.amazonaws.com\nX-Amz-Date: 20130524T000000Z"
		emptySHA   = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		welcomeSHA = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
	)
	for _, tt := range []struct {
		name, request, key, accessKey, payload, want string
	}{
		{"get-vanilla", "GET / HTTP/1.1" + suiteHead, suiteKey, "AKIDEXAMPLE", sum(""), "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"post-vanilla", "POST / HTTP/1.1" + suiteHead, suiteKey, "AKIDEXAMPLE", sum(""), "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{"get-vanilla-query-order-key-case", "GET /?Param2=value2&Param1=value1 HTTP/1.1" + suiteHead, suiteKey, "AKIDEXAMPLE", sum(""), "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{"iam docs", "GET /?Action=ListUsers&Version=2010-05-08 HTTP/1.1\nHost: iam.amazonaws.com\nContent-Type: application/x-www-form-urlencoded; charset=utf-8\nX-Amz-Date: 20150830T123600Z\nAuthorization: AWS4-HMAC-SHA256 Credential=PLACEHOLDER/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=x",
			suiteKey, "AKIDEXAMPLE", sum(""), "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"},
		{"s3 docs: GET object", "GET /test.txt HTTP/1.1" + s3Host + "\nRange: bytes=0-9\nX-Amz-Content-Sha256: " + emptySHA + "\nAuthorization: " + s3 + "host;range;x-amz-content-sha256;x-amz-date,Signature=x",
			docsKey, "AKIAIOSFODNN7EXAMPLE", "", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
		{"s3 docs: PUT object", "PUT /test$file.text HTTP/1.1" + s3Host + "\nDate: Fri, 24 May 2013 00:00:00 GMT\nX-Amz-Storage-Class: REDUCED_REDUNDANCY\nX-Amz-Content-Sha256: " + welcomeSHA + "\nAuthorization: " + s3 + "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,Signature=x",
			docsKey, "AKIAIOSFODNN7EXAMPLE", "", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
		{"s3 docs: GET lifecycle", "GET /?lifecycle HTTP/1.1" + s3Host + "\nX-Amz-Content-Sha256: " + emptySHA + "\nAuthorization: " + s3 + "host;x-amz-content-sha256;x-amz-date,Signature=x",
			docsKey, "AKIAIOSFODNN7EXAMPLE", "", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		{"s3 docs: list objects", "GET /?max-keys=2&prefix=J HTTP/1.1" + s3Host + "\nX-Amz-Content-Sha256: " + emptySHA + "\nAuthorization: " + s3 + "host;x-amz-content-sha256;x-amz-date,Signature=x",
			docsKey, "AKIAIOSFODNN7EXAMPLE", "", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
		{"s3 docs: presigned", "GET /test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=PLACEHOLDER%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=x HTTP/1.1\nHost: examplebucket.s3.amazonaws.com",
			docsKey, "AKIAIOSFODNN7EXAMPLE", "", "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"},
	} {
		r := request(t, tt.request)
		s, err := Read(r)
		if err != nil || s == nil || s.AccessKey != "PLACEHOLDER" {
			t.Errorf("%s: %+v %v", tt.name, s, err)
			continue
		}
		if err := s.Sign(r, r.Host, Key{AccessKey: tt.accessKey, Secret: []byte(tt.key)}, tt.payload); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got := r.Header.Get("Authorization") + "&" + r.URL.RawQuery
		if !strings.Contains(got, "Signature="+tt.want) || strings.Contains(got, "PLACEHOLDER") || strings.Count(got, "Signature=") != 1 {
			t.Errorf("%s: %s\nwant Signature=%s", tt.name, got, tt.want)
		}
		if again, err := Read(r); err != nil || again.AccessKey != tt.accessKey || again.Presigned != s.Presigned {
			t.Errorf("%s: what was signed reads as %+v, %v", tt.name, again, err)
		}
	}
}

// TestSignedHeaders: what is sent is what is signed.
func TestSignedHeaders(t *testing.T) {
	r := request(t, "PUT /a HTTP/1.1\nHost: h\nX-Amz-Date: 20130524T000000Z\nX-Amz-Meta-A:   two   words \nX-Amz-Security-Token: PLACE\nContent-Type: text/plain\nUser-Agent: u\nConnection: close\nContent-Length: 3\nAccept-Encoding: gzip\nX-Other: o\nAuthorization: AWS4-HMAC-SHA256 Credential=P/20130524/eu-west-1/dynamodb/aws4_request, SignedHeaders=accept-encoding;connection;content-length;content-type;host;range;user-agent;x-amz-date, Signature=x")
	s, err := Read(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Sign(r, "h:8443", Key{"AKIA", []byte("secret"), "TOKEN"}, sum("abc")); err != nil {
		t.Fatal(err)
	}
	want := "content-type;host;x-amz-date;x-amz-meta-a;x-amz-security-token"
	if got := r.Header.Get("Authorization"); !strings.Contains(got, "SignedHeaders="+want+",") {
		t.Errorf("%s, want %s", got, want)
	}
	if got := r.Header.Values("X-Amz-Security-Token"); !slices.Equal(got, []string{"TOKEN"}) {
		t.Errorf("session token %q", got)
	}
	text, err := s.canonical(r, "h:8443", strings.Split(want, ";"), sum("abc"))
	if err != nil || !strings.Contains(text, "\nhost:h:8443\n") || !strings.Contains(text, "\nx-amz-meta-a:two words\n") {
		t.Errorf("%q %v", text, err)
	}
	if err := s.Sign(r, "h", Key{"AKIA", []byte("secret"), ""}, ""); err == nil {
		t.Error("a body whose digest is not known was signed")
	}
}

func TestPath(t *testing.T) {
	for _, tt := range []struct{ service, in, want string }{
		{"s3", "/a%20b/c+d", "/a%20b/c%2Bd"}, {"s3", "/caf%C3%A9", "/caf%C3%A9"}, {"s3", "", "/"}, {"s3", "/a%2Fb", "/a/b"},
		{"dynamodb", "/a%20b", "/a%2520b"}, {"execute-api", "/x:y", "/x%3Ay"}, {"sqs", "", "/"},
	} {
		if got, err := (&Signature{Service: tt.service}).path(tt.in); got != tt.want || err != nil {
			t.Errorf("%s %q: %q %v, want %q", tt.service, tt.in, got, err, tt.want)
		}
	}
}

func TestRefused(t *testing.T) {
	auth := func(credential, headers string) string {
		return "GET / HTTP/1.1\nHost: h\nX-Amz-Date: 20130524T000000Z\nAuthorization: AWS4-HMAC-SHA256 Credential=" + credential + ", SignedHeaders=" + headers + ", Signature=x"
	}
	good := "P/20130524/us-east-1/s3/aws4_request"
	for name, tt := range map[string]struct {
		request     string
		unsupported bool
	}{
		"SigV2":             {"GET / HTTP/1.1\nHost: h\nAuthorization: AWS P:sig", true},
		"SigV4a":            {"GET / HTTP/1.1\nHost: h\nAuthorization: AWS4-ECDSA-P256-SHA256 Credential=P/20130524/s3/aws4_request, SignedHeaders=host, Signature=x", true},
		"SigV2 in query":    {"GET /?AWSAccessKeyId=P&Signature=x HTTP/1.1\nHost: h", true},
		"SigV4a in query":   {"GET /?X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256&X-Amz-Credential=P HTTP/1.1\nHost: h", true},
		"twice in query":    {"GET /?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Algorithm=AWS4-HMAC-SHA256 HTTP/1.1\nHost: h", true},
		"header and query":  {strings.Replace(auth(good, "host"), "GET /", "GET /?X-Amz-Signature=x", 1), false},
		"two headers":       {auth(good, "host") + "\nAuthorization: AWS4-HMAC-SHA256 x", false},
		"chunks signed":     {auth(good, "host") + "\nX-Amz-Content-Sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD", true},
		"no digest":         {auth(good, "host") + "\nX-Amz-Content-Sha256: abc", false},
		"short scope":       {auth("P/20130524/us-east-1/s3", "host"), false},
		"scope with dots":   {auth("P/20130524/us-east-1/../aws4_request", "host"), false},
		"another day":       {auth("P/20130525/us-east-1/s3/aws4_request", "host"), false},
		"no host":           {auth(good, "x-amz-date"), false},
		"no time":           {strings.Replace(auth(good, "host"), "X-Amz-Date", "Date", 1), true},
		"field twice":       {auth(good+", Credential=Q/20130524/us-east-1/s3/aws4_request", "host"), false},
		"plus in the query": {strings.Replace(auth(good, "host"), "GET /", "GET /?a=b+c", 1), false},
		"broken query":      {strings.Replace(auth(good, "host"), "GET /", "GET /?a=%zz", 1), false},
	} {
		s, err := Read(request(t, tt.request))
		if err == nil || errors.Is(err, ErrUnsupported) != tt.unsupported {
			t.Errorf("%s: %+v %v", name, s, err)
		}
	}
	for _, ok := range []string{"GET /?a=b HTTP/1.1\nHost: h", "GET / HTTP/1.1\nHost: h\nAuthorization: Bearer x"} {
		if s, err := Read(request(t, ok)); s != nil || err != nil {
			t.Errorf("%q: %+v %v", ok, s, err)
		}
	}
}

// FuzzCanonical: what a server decodes of a canonical query and path is what was
// in the request, nothing moves from one parameter to another, and writing the
// canonical form anew gives the same.
func FuzzCanonical(f *testing.F) {
	f.Add("a=b&c=d", "/x/y")
	f.Add("a=%26b%3Dc&a=&=x", "/%20/%2F")
	f.Add("X-Amz-Signature=1&b", "/caf%C3%A9")
	f.Fuzz(func(t *testing.T, raw, path string) {
		params, err := query(raw)
		if err != nil {
			return
		}
		text := encode(params)
		again, err := query(text)
		if err != nil || len(again) != len(params) || encode(again) != text {
			t.Fatalf("%q became %q, and that %+v (%v)", raw, text, again, err)
		}
		values, err := url.ParseQuery(text)
		if err != nil {
			t.Fatalf("%q became %q, which net/url does not read: %v", raw, text, err)
		}
		n := 0
		for name, list := range values {
			for _, v := range list {
				if !slices.Contains(params, param{name, v}) {
					t.Fatalf("%q became %q, which has %q=%q", raw, text, name, v)
				}
				n++
			}
		}
		if n != len(params) {
			t.Fatalf("%q became %q, with %d parameters for %d", raw, text, n, len(params))
		}
		u := &url.URL{Path: path}
		canonical, err := (&Signature{Service: "s3"}).path(u.EscapedPath())
		if err != nil || path == "" {
			return
		}
		if back, err := url.PathUnescape(canonical); err != nil || back != path {
			t.Fatalf("%q became %q, which reads as %q (%v)", path, canonical, back, err)
		}
	})
}
