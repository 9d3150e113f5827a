// Package usage reads out of a model provider's answers, as they stream by, what they
// cost: the model, the tokens, and the tools that the model asked for.
//
// It is shown every byte and changes none. Its memory is bounded whatever the host
// sends: strings are hashed or cut as they pass, never kept. The host may lie: a count
// that is no number of tokens is no count, what is missing stays unknown and never
// becomes zero, and of counts that contradict each other the largest holds, so that a
// lie can only make a call dearer. How the bytes are cut into chunks makes no
// difference to what comes out.
//
//	bytes ─▶ events (server-sent events, JSON, WebSocket) ─▶ JSON scanner ─▶ collector ─▶ Result
//
// The package never decides a policy, never makes a request, and imports nothing but
// the standard library.
//
// # Digests of arguments
//
// A tool's arguments come as an object in one answer and as pieces of text in the
// next. Both give the same digest: SHA-256 over the JSON text without the white space
// between its tokens.
package usage
