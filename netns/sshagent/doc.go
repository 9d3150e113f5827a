// Package sshagent reads the SSH agent protocol (draft-ietf-sshm-ssh-agent) as far as a
// filter between a client and an agent needs it: which request it is, which key a
// signature is asked of, what for, and the list of keys, so that keys can be left out.
//
// It never makes a request or an answer of its own but the refusal, and passes on what
// it lets through byte by byte. Of the requests it knows three: list the keys, sign,
// and OpenSSH's session-bind@openssh.com, which only narrows what a key may sign.
// golang.org/x/crypto/ssh/agent reads all of them, also those that put keys into an
// agent and are refused here: the less is read of what the jail sends, the better.
package sshagent
