// Package channel tells people who sit at no terminal of agentjail's that something is
// asked: by a notification on the desktop, and by a webhook whose signed answer is an
// answer of theirs.
//
// # The webhook
//
// Each question is posted once, as JSON, in the form of Standard Webhooks
// (https://www.standardwebhooks.com): the headers webhook-id, webhook-timestamp and
// webhook-signature, which is "v1," and the base64 of HMAC-SHA256 over
// "id.timestamp.body". The connection is held until the question's deadline, and what is
// answered in that time is signed in the same way, with the same key and the same
// webhook-id. Its body says {"id": the question's, "verdict": "yes" or "no"}.
//
// The webhook-id has sixteen random bytes in it that were never sent before, so that no
// answer is worth anything a second time or for another question; one whose timestamp is
// not of these minutes is none either. The question that was sent, sent back, is no
// answer: it has no verdict.
//
// Whatever is not exactly such an answer is no answer, and is reported.
package channel
