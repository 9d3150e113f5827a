package sshagent

import (
	"bytes"
	"fmt"
)

// Purpose says what a signature is for, as far as what is signed tells it: a login by
// SSH (RFC 4252 section 7), or a signature of files or commits by ssh-keygen (OpenSSH's
// PROTOCOL.sshsig). It is "" for anything else. bound is the host key of the session
// that the client bound its connection to, if it did.
func Purpose(data, bound []byte) string {
	if namespace, ok := sshsig(data); ok {
		return fmt.Sprintf("a signature in the namespace %q", clip(namespace))
	}
	user, host, ok := userauth(data)
	if !ok {
		return ""
	}
	s := fmt.Sprintf("a login as %q", clip(user))
	if host == nil {
		host = bound
	}
	if host != nil {
		s += " on the host with the key " + Fingerprint(host)
	}
	return s
}

func sshsig(data []byte) (namespace []byte, ok bool) {
	rest, ok := bytes.CutPrefix(data, []byte("SSHSIG"))
	if !ok {
		return nil, false
	}
	namespace, _, err := text(rest)
	return namespace, err == nil
}

// userauth reads the blob that a login signs; hostbound ones (PROTOCOL of OpenSSH,
// section 3.1) name the host's key.
func userauth(data []byte) (user, host []byte, ok bool) {
	const request = 50         // SSH_MSG_USERAUTH_REQUEST
	_, rest, err := text(data) // the session's id
	if err != nil || len(rest) == 0 || rest[0] != request {
		return nil, nil, false
	}
	rest = rest[1:]
	var fields [3][]byte // user, service, method
	for i := range fields {
		if fields[i], rest, err = text(rest); err != nil {
			return nil, nil, false
		}
	}
	method := string(fields[2])
	bound := method == "publickey-hostbound-v00@openssh.com"
	if method != "publickey" && !bound || string(fields[1]) != "ssh-connection" || len(rest) == 0 {
		return nil, nil, false
	}
	if !bound {
		return fields[0], nil, true
	}
	rest = rest[1:] // "there is a signature"
	for range 2 {   // algorithm, public key
		if _, rest, err = text(rest); err != nil {
			return nil, nil, false
		}
	}
	if host, _, err = text(rest); err != nil {
		return nil, nil, false
	}
	return fields[0], host, true
}

func clip(b []byte) []byte { return b[:min(len(b), 100)] }
