package netns

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/agentjail/agentjail/netns/sigv4"
	"github.com/agentjail/agentjail/profiles"
)

// maxSignedBody is the size up to which a body is read to reckon its digest. S3, to
// which longer ones go, gets the digest or "unsigned" from the client.
const maxSignedBody = 4 << 20

// awsKey is one AWS key: the secret access key and what belongs to it.
type awsKey struct {
	name                     string
	accessKey, secret, token *credential
}

// awsKeys finds the AWS keys among the secrets that may go to a host.
func awsKeys(bound []*credential) (keys []*awsKey) {
	for _, c := range bound {
		if c.AWS == nil {
			continue
		}
		if n := len(keys); n == 0 || keys[n-1].name != c.Name { // its parts stand together
			keys = append(keys, &awsKey{name: c.Name})
		}
		k := keys[len(keys)-1]
		switch c.Part {
		case PartAccessKey:
			k.accessKey = c
		case PartSessionToken:
			k.token = c
		case PartSecret:
			k.secret = c
		}
	}
	return keys
}

// signing is how a request is signed anew.
type signing struct {
	*sigv4.Signature
	key     *awsKey
	payload string // digest of the body, where the client says none
	err     error  // it could not be
}

// prepareSigning looks at the signature of a request to a host that has an AWS key. It
// answers where the request can't be signed anew: a request that the agent signed with
// a key of its own is not sent either.
func (a *ask) prepareSigning(r *http.Request) bool {
	keys := awsKeys(a.x.bound)
	if len(keys) == 0 {
		return true
	}
	s, err := sigv4.Read(r)
	if err != nil {
		return a.deny(r, http.StatusForbidden, err.Error())
	}
	if s == nil {
		return true // nothing is signed, and nothing is put in
	}
	var key *awsKey
	for _, k := range keys {
		if k.accessKey != nil && k.secret != nil && k.accessKey.Placeholder == s.AccessKey {
			key = k
		}
	}
	if key == nil {
		return a.deny(r, http.StatusForbidden, "the request is signed with an access key that is not the placeholder of the host's secret")
	}
	a.signing = &signing{Signature: s, key: key}
	if s.Payload != "" {
		return true
	}
	body, err := a.wholeBody(r)
	switch {
	case errors.Is(err, errSignedBody):
		return a.deny(r, http.StatusRequestEntityTooLarge, err.Error())
	case errors.Is(err, errBusy):
		return a.deny(r, http.StatusServiceUnavailable, err.Error())
	case err != nil:
		a.unread(r, err)
		return false
	}
	sum := sha256.Sum256(body)
	a.signing.payload = hex.EncodeToString(sum[:])
	return true
}

var errSignedBody = fmt.Errorf("the body is larger than %s, and the request does not say its digest in X-Amz-Content-Sha256", profiles.FormatSize(maxSignedBody))

// wholeBody reads a body and leaves the same bytes in the request. It shares the
// memory of the pages that are sanitized.
func (a *ask) wholeBody(r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	share := &pageShare{pages: a.x.g.pages, Closer: r.Body}
	data, err := share.read(r.Body, maxSignedBody, errSignedBody)
	if err != nil {
		share.hold(0)
		return nil, err
	}
	r.Body = &readBody{Reader: bytes.NewReader(data), Closer: share}
	r.ContentLength, r.TransferEncoding = int64(len(data)), nil
	return data, nil
}

// signAgain signs the request as it is sent. An error keeps it from being sent.
func (a *ask) signAgain(out *http.Request) {
	s := a.signing
	k := sigv4.Key{AccessKey: string(s.key.accessKey.value), Secret: s.key.secret.value}
	if s.key.token != nil {
		k.SessionToken = string(s.key.token.value)
	}
	if s.err = s.Sign(out, out.Host, k, s.payload); s.err == nil {
		a.rec.Secrets = append(a.rec.Secrets, s.key.name)
	}
}

// ownsHeader says whether a header may have this part of an AWS key in it.
func (s *credential) ownsHeader(name, value string) bool {
	switch {
	case s.AWS == nil:
		return s.Header != "" && s.Header == name
	case s.Part == PartAccessKey:
		before, after, found := strings.Cut(value, "Credential="+s.Placeholder+"/")
		return found && name == "authorization" && !strings.Contains(before+after, s.Placeholder)
	case s.Part == PartSessionToken:
		return name == "x-amz-security-token" && value == s.Placeholder
	}
	return false
}

// ownsParameter says the same of a parameter of the query.
func (s *credential) ownsParameter(name, value string) bool {
	switch {
	case s.AWS == nil:
		return s.Query != "" && name == s.Query && value == s.Placeholder
	case s.Part == PartAccessKey:
		rest, found := strings.CutPrefix(value, s.Placeholder+"/")
		return found && name == "X-Amz-Credential" && !strings.Contains(rest, s.Placeholder)
	case s.Part == PartSessionToken:
		return name == "X-Amz-Security-Token" && value == s.Placeholder
	}
	return false
}

// wholeAnswers says whether parts of a host's answers are not asked for, since a part
// could have a part of a secret in it. An AWS key never goes to the host, and clients
// fetch large objects in parts.
func wholeAnswers(bound []*credential) bool {
	for _, c := range bound {
		if c.AWS == nil {
			return true
		}
	}
	return false
}
