package netns

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/netns/sigv4"
)

const awsProfile = `
network {
  allow "s3.example"    { secret = secret.aws }
  allow "other.example" {
    request "*" "/**" {}
  }
}
secret "aws" {
  env = "AWS_SECRET_ACCESS_KEY"
  aws { session_token_env = "AWS_SESSION_TOKEN" }
}
`

func awsValues() map[string]string {
	return map[string]string{
		"aws": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "aws access key ID": "AKIAIOSFODNN7EXAMPLE", "aws session token": "IQoJb3JpZ2luX2VjEXAMPLETOKEN0123456789==",
	}
}

// TestKernelAWS: what the agent signs with its placeholder gets to the host signed with
// the real key; the host checks it as AWS does. No other signature gets through.
func TestKernelAWS(t *testing.T) {
	real := awsValues()
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s, err := sigv4.Read(r)
		if err != nil || s == nil {
			fmt.Fprintf(w, "signature %+v %v", s, err)
			return
		}
		// The signature made anew with the real key must be the one that came.
		sum := sha256.Sum256(body)
		again := r.Clone(r.Context())
		if err := s.Sign(again, r.Host, sigv4.Key{AccessKey: real["aws access key ID"], Secret: []byte(real["aws"]), SessionToken: real["aws session token"]}, hex.EncodeToString(sum[:])); err != nil {
			fmt.Fprint(w, err)
			return
		}
		good := again.Header.Get("Authorization") == r.Header.Get("Authorization")
		if s.Presigned {
			_, want, _ := strings.Cut(again.URL.RawQuery, "X-Amz-Signature=")
			good = strings.Contains(r.URL.RawQuery, "X-Amz-Signature="+want)
		}
		if r.Header.Get("Range") != "" {
			w.Header().Set("Content-Range", "bytes 0-3/10")
			w.WriteHeader(206)
		}
		fmt.Fprintf(w, "good=%v key=%s token=%s body=%s", good, s.AccessKey, r.Header.Get("X-Amz-Security-Token"), body)
	}, "s3.example", "other.example")
	b := newInterceptBox(t, o, awsProfile, real)
	key, token := b.holders["aws access key ID"], b.holders["aws session token"]
	sign := func(service, headers string, more ...string) map[string][]string {
		h := map[string][]string{
			"X-Amz-Date":           {"20260524T000000Z"},
			"X-Amz-Security-Token": {token},
			"Authorization":        {"AWS4-HMAC-SHA256 Credential=" + key + "/20260524/eu-west-1/" + service + "/aws4_request, SignedHeaders=" + headers + ", Signature=00"},
			"User-Agent":           {"aws-cli/2"},
		}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = []string{more[i+1]}
		}
		return h
	}
	good := "good=true key=" + key + " token=" + token
	for _, h1 := range []bool{true, false} {
		for name, a := range map[string]fetchArg{
			"unsigned payload": {URL: "/a%20b/c?x=1&list-type=2", Method: "PUT", Body: "abc", Header: sign("s3", "host;x-amz-date", "X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")},
			"digest":           {URL: "/", Header: sign("s3", "host;x-amz-content-sha256;x-amz-date", "X-Amz-Content-Sha256", hex.EncodeToString(sha256.New().Sum(nil)))},
			"unsigned chunks":  {URL: "/o", Method: "PUT", Body: "3\r\nabc\r\n0\r\nx-amz-checksum-crc32:x\r\n\r\n", Header: sign("s3", "content-encoding;host;x-amz-date", "Content-Encoding", "aws-chunked", "X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")},
			"digest reckoned":  {URL: "/", Method: "POST", Body: `{"TableName":"t"}`, Header: sign("dynamodb", "content-type;host;x-amz-date;x-amz-target", "Content-Type", "application/x-amz-json-1.0", "X-Amz-Target", "DynamoDB.Get")},
			"no length":        {URL: "/", Method: "POST", Body: strings.Repeat("x", 200_000), Chunked: true, Header: sign("lambda", "host;x-amz-date")},
			"presigned":        {URL: "/o?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + key + "%2F20260524%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date=20260524T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00&X-Amz-Security-Token=" + strings.ReplaceAll(token, "=", "%3D")},
		} {
			a.URL, a.H1 = "https://s3.example"+a.URL, h1
			got := b.fetch(a)
			want := good
			if name == "presigned" {
				want = "good=true key=" + key + " token="
			}
			if got.Status != 200 || !strings.HasPrefix(got.Body, want) || a.Body != "" && !strings.HasSuffix(got.Body, "body="+a.Body) {
				t.Errorf("%s (HTTP/1.1 %v): %d %q %s", name, h1, got.Status, clip(got.Body), got.Err)
			}
		}
		if got := b.fetch(fetchArg{URL: "https://s3.example/", H1: h1, Header: sign("s3", "host;range;x-amz-date", "Range", "bytes=0-3", "X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")}); got.Status != 206 || !strings.HasPrefix(got.Body, good) {
			t.Errorf("a part (HTTP/1.1 %v): %+v", h1, got)
		}
	}
	if got := b.fetch(fetchArg{URL: "https://s3.example/"}); got.Body != "signature <nil> <nil>" {
		t.Errorf("what is not signed was signed: %+v", got)
	}
	b.wantHTTP("the key's use", func(h audit.HTTP) bool { return slices.Equal(h.Secrets, []string{"aws"}) })

	before := len(o.got())
	own := sign("s3", "host;x-amz-date")
	own["Authorization"][0] = strings.Replace(own["Authorization"][0], key, "AKIAOWNKEYOFTHEAGENT", 1)
	delete(own, "X-Amz-Security-Token")
	v2 := map[string][]string{"Authorization": {"AWS AKIAOWNKEYOFTHEAGENT:sig"}}
	for name, tt := range map[string]struct {
		a    fetchArg
		want string
	}{
		"another key":          {fetchArg{URL: "https://s3.example/", Header: own}, "an access key that is not the placeholder"},
		"an older signature":   {fetchArg{URL: "https://s3.example/", Header: v2}, "can't be made anew"},
		"signed chunks":        {fetchArg{URL: "https://s3.example/", Method: "PUT", Body: "x", Header: sign("s3", "host", "X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")}, "UNSIGNED-PAYLOAD"},
		"a large body":         {fetchArg{URL: "https://s3.example/", Method: "PUT", Size: maxSignedBody + 1, Header: sign("lambda", "host")}, "larger than 4MiB"},
		"another host":         {fetchArg{URL: "https://other.example/", Header: sign("s3", "host")}, `the placeholder of the secret "aws" may not be in the header`},
		"the secret key":       {fetchArg{URL: "https://s3.example/", Header: map[string][]string{"X-Amz-Meta-Key": {b.holders["aws"]}}}, "may not be in the header X-Amz-Meta-Key"},
		"the token elsewhere":  {fetchArg{URL: "https://s3.example/", Header: map[string][]string{"X-Amz-Meta-Token": {token}}}, "may not be in the header X-Amz-Meta-Token"},
		"the key ID elsewhere": {fetchArg{URL: "https://s3.example/?id=" + key}, "may not be in the query"},
		"the key ID twice":     {fetchArg{URL: "https://s3.example/", Header: map[string][]string{"Authorization": {sign("s3", "host")["Authorization"][0] + key}}}, "may not be in the header Authorization"},
	} {
		if got := b.fetch(tt.a); got.Status/100 != 4 || !strings.Contains(got.Body, tt.want) {
			t.Errorf("%s: %d %q %s", name, got.Status, got.Body, got.Err)
		}
	}
	if n := len(o.got()); n != before {
		t.Errorf("the host got %d of the refused requests", n-before)
	}
	for _, r := range b.sink.all() {
		j, _ := json.Marshal(r)
		for name, value := range real {
			if bytes.Contains(j, []byte(value)) {
				t.Errorf("%s is in a record: %s", name, j)
			}
		}
	}
}
