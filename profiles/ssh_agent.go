package profiles

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2"
)

// SSHAgent lets the jail have signatures of some keys of the caller's SSH agent. The
// keys themselves stay where they are.
type SSHAgent struct {
	Keys   []Pattern `json:"keys"`             // fingerprints ("SHA256:...") and comments, exact
	Socket string    `json:"socket,omitempty"` // absolute path; "": the caller's SSH_AUTH_SOCK
	Limit  *Quota    `json:"limit,omitempty"`  // signatures
	Reason string    `json:"reason,omitempty"`
	Origin Origin    `json:"origin"`
}

// Allows finds the entry that names a key, by its fingerprint or its comment.
func (a *SSHAgent) Allows(fingerprint, comment string) (Pattern, bool) {
	for _, k := range a.Keys {
		if k.Pattern == fingerprint || k.Pattern == comment && !isFingerprint(comment) {
			return k, true
		}
	}
	return Pattern{}, false
}

// fingerprint is 32 bytes in base64 without padding, as ssh-add -l shows it.
var fingerprint = lazy(`^SHA256:[A-Za-z0-9+/]{43}$`)

func isFingerprint(s string) bool { return strings.HasPrefix(s, "SHA256:") }

func sshAgentSchema() schema {
	return schema{attrs: []attr{
		{"keys", listKind("keys"), `["me@laptop"]`, "must be there", "The keys that the agent may have signatures of, by comment or by fingerprint (`SHA256:...`), as `ssh-add -l` shows them."},
		{"socket", textKind("path"), `"~/.1password/agent.sock"`, "$SSH_AUTH_SOCK", "The SSH agent's socket."},
		{"limit", textKind("rate"), `"20/h"`, "", "Signatures."},
		{"reason", textKind("sentence"), `"push to our repositories"`, "", "Why, for people and agents."},
	}}
}

func (d *decoder) sshAgent(b *hcl.Block, l *layer) {
	c := d.content(b.Body, sshAgentSchema())
	s := SSHAgent{Keys: []Pattern{}, Origin: d.origin(b.DefRange)}
	if c.Attributes["keys"] == nil {
		d.fail(b.DefRange, "No key", "The block names no key: write keys = [\"me@laptop\"], with a comment or a fingerprint as `ssh-add -l` shows them.")
	}
	for _, k := range d.agentKeys(c.Attributes["keys"]) {
		switch {
		case k.s == "":
			d.fail(k.rng, "Wrong key", "A key without a comment is named by its fingerprint: `ssh-add -l` shows it.")
		case isFingerprint(k.s) && !fingerprint().MatchString(k.s):
			d.fail(k.rng, "Wrong key", fmt.Sprintf("%q is no fingerprint: it is SHA256: and 43 characters of base64, as `ssh-add -l` shows it.", k.s))
		case strings.HasPrefix(k.s, "MD5:"):
			d.fail(k.rng, "Wrong key", "A fingerprint of MD5 can be forged: write the one that `ssh-add -l` shows.")
		case strings.ContainsFunc(k.s, unicode.IsControl):
			d.fail(k.rng, "Wrong key", fmt.Sprintf("%q has a control character in it.", k.s))
		default:
			s.Keys = append(s.Keys, Pattern{k.s, d.origin(k.rng)})
		}
	}
	if a := c.Attributes["socket"]; a != nil {
		if d.file.builtin {
			d.fail(a.NameRange, "Wrong socket", "A built-in profile names no socket.")
		} else if t, ok := d.text(a.Expr); ok {
			p, err := absolutePath(t.s, d.home, filepath.Dir(d.file.path))
			if err != nil {
				d.wrong(t.rng, "Wrong path", err)
			}
			s.Socket = p
		}
	}
	if a := c.Attributes["limit"]; a != nil {
		s.Limit = d.quota(a)
	}
	if a := c.Attributes["reason"]; a != nil {
		s.Reason, _ = d.sentenceText(a.Expr)
	}
	l.sshAgent = &s
}

func (d *decoder) agentKeys(a *hcl.Attribute) []text {
	if a == nil {
		return nil
	}
	keys, ok := d.texts(a.Expr)
	if ok && len(keys) == 0 {
		d.fail(a.Expr.Range(), "No key", "The list is empty, so there is nothing to sign with. Name a key, or take the block out.")
	}
	return keys
}

// addSSHAgent adds a farther file's block: its keys count too, the rest is the nearest
// file's.
func (s *Spec) addSSHAgent(a *SSHAgent) {
	switch {
	case a == nil:
	case s.SSHAgent == nil:
		own := *a
		own.Keys = slices.Clone(a.Keys)
		s.SSHAgent = &own
	default:
		addPatterns(&s.SSHAgent.Keys, a.Keys)
	}
}

// capSSHAgent leaves the keys that the ceiling names in the same words, where it names
// some.
func (c *Ceiling) capSSHAgent(s *Spec) {
	most := c.layer.sshAgent
	if most == nil || s.SSHAgent == nil {
		return
	}
	s.SSHAgent.Keys = slices.DeleteFunc(s.SSHAgent.Keys, func(k Pattern) bool {
		return !slices.ContainsFunc(most.Keys, func(m Pattern) bool { return m.Pattern == k.Pattern })
	})
	if len(s.SSHAgent.Keys) == 0 {
		s.SSHAgent = nil
	}
}

func (t *textWriter) sshAgent(a *SSHAgent) {
	if a == nil {
		return
	}
	t.open("ssh_agent", a.Origin)
	t.patterns("keys", a.Keys)
	if a.Socket != "" {
		t.printf("socket = %s", quote(a.Socket))
	}
	t.quota(a.Limit)
	if a.Reason != "" {
		t.printf("reason = %s", quote(a.Reason))
	}
	t.close()
}
