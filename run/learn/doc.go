// Package learn turns what a run was refused into the smallest profile that would have
// let it through. It is pure: what it is told was asked for by a hostile program, and
// it neither looks at the host nor trusts a word of it.
//
//	Seen ──▶ Draft: what is granted, what is only asked about ──▶ Write: HCL
//
// What it grants is what was seen, and one step more where there are siblings:
//
//   - three files of one folder, or folders so granted, become the folder;
//   - three names one label below a domain become "*." and the domain;
//   - three paths of one folder of a request become "*".
//
// Never granted, however often it was asked for, and listed as a question instead:
// what a rule denies, what looks like a credential, Unix sockets and devices, writing
// where the host executes or obeys what is written, private and special addresses, the
// system calls that reach beyond the agent's own processes, and whatever has a name
// that people could misread.
package learn
