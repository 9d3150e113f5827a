// Package audit is the trail of a run: it turns records of what happened into
// OCSF events, numbers, redacts, chains and writes them, and reads them back.
//
// A trail is a file of JSON lines. Each line is one event of the Open
// Cybersecurity Schema Framework in the canonical form of RFC 8785 (JCS), and
// each holds the fingerprint of the one before it, so that an edit, a cut or a
// swap shows. Strings that came from the jail are hostile: they are redacted,
// made valid UTF-8 and bounded before anything is hashed or written.
//
//	Emit ─▶ map to OCSF ─▶ redact, clean, cut ─▶ queue ─▶ fold ─▶ number, chain ─▶ write(2)
//	        (in the caller's goroutine)                  (in the one that owns the file)
//
// The package never decides a policy, never reads a profile, never opens a
// network connection, and never writes a body, a credential or an environment
// variable.
//
// # Choices where the schema leaves room
//
//   - Nanoseconds are in time_dt (RFC 3339, from OCSF's datetime profile): as a
//     number they would not fit into the 53 bits that RFC 8785 keeps exactly.
//   - The rule that decided is policy.uid, "web.hcl:14", in every class; why is
//     status_detail.
//   - argv is process.xattributes.argv; cmd_line is the same, quoted and joined.
//   - device is the jail, because process ids are those of its pid namespace.
//   - An event that no policy decided has action Observed, disposition Logged.
//   - The fingerprint covers the whole event except attestation_list[0].fingerprint
//     and .signatures, as OCSF's attestation object wants it. The reference to the
//     previous event is covered, which is what makes a chain of it.
//   - A number beyond 2^53-1 is written as that, with its exact value as text in
//     unmapped.exact.
package audit
