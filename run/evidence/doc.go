// Package evidence packs what a held run is into one archive for a person to look at,
// and lists such archives.
//
//	members ─▶ mask (same length) ─▶ SHA-256 ─▶ tar ─▶ zstd ─▶ NAME.tar.zst
//	                                   └─▶ manifest.json, the last member
//
// It is a plain tar in one zstd stream: `tar --zstd -xf` opens it. Every byte of every
// member goes through the mask, so that no credential that is known or looks like one is
// in it; offsets stay what they were. Whoever reads an archive takes it for hostile: it
// may come from anywhere, and what is in it was chosen by an agent.
package evidence
