package audit

import (
	"cmp"
	"encoding/json"
	"time"
)

// Signature is a use of the host's SSH agent by the jail: a signature that was made, or
// a request that was refused.
type Signature struct {
	Key     string  `json:"key,omitempty"`     // fingerprint; "" where it was about no key
	Comment string  `json:"comment,omitempty"` // of the key, as the host's agent has it
	Purpose string  `json:"purpose,omitempty"` // what was signed, as far as that can be told
	Outcome Outcome `json:"outcome"`
	Rule    string  `json:"rule,omitempty"`
	Reason  string  `json:"reason,omitempty"`
	Process Process `json:"process"`
}

func (Signature) record() {}

// signature is an API call of the agent's: OCSF has no class for signatures.
func (s source) signature(r Signature, at time.Time) (header, object) {
	what := "request to the ssh agent "
	if r.Key != "" {
		what = "signature with the key " + r.Key + " "
	}
	h := header{
		class:    apiActivity(),
		activity: activity{99, "Other"},
		severity: severityFor(r.Outcome),
		verdict:  verdictOf(r.Outcome),
		message:  what + string(r.Outcome),
		rule:     r.Rule,
		reason:   r.Reason,
		at:       at,
	}
	body := s.arena.object(4)
	s.actor(&body, r.Process)
	api := s.arena.object(2)
	api.own("operation", "ssh-agent sign")
	api.object("service", s.service("ssh-agent"))
	body.object("api", api)
	dst := s.arena.object(1)
	dst.own("name", "the host's ssh agent")
	body.object("dst_endpoint", dst)
	src := s.arena.object(1)
	src.own("name", "jail")
	body.object("src_endpoint", src)
	u := s.arena.object(3)
	u.text("comment", r.Comment)
	u.text("key", r.Key)
	u.text("purpose", r.Purpose)
	return h, s.root(h, body, u)
}

// signatureView is a signature in a person's words.
func (e Event) signatureView() (target string, ok bool) {
	var u struct {
		Comment string `json:"comment"`
		Key     string `json:"key"`
		Purpose string `json:"purpose"`
	}
	if e.API.Operation != "ssh-agent sign" {
		return "", false
	}
	_ = json.Unmarshal(e.Unmapped, &u) // what another writer left out is empty
	target = cmp.Or(u.Purpose, "a signature")
	if u.Key == "" {
		return "a request to the ssh agent", true
	}
	return target + " with " + cmp.Or(u.Comment, u.Key), true
}
