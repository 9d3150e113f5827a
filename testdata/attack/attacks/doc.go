// Package attacks is code that wants out of a jail: one function an attack, beside what
// a jail must answer and which layer that answer is of.
//
// Each attack stands for a number of the list of escapes in docs/security.md, and names
// the CVE or the class of mistakes that it is about. An attack answers "ok" where it
// reached what it wanted, else the name of the errno or a word of its own. It must be
// harmless: it reads, writes and talks to nothing but the canaries that the suite has
// planted, its own process, and namespaces that were made for it. What would outlive it
// is undone by it.
//
// Whatever an attack leaves on a canary bears its mark (Target.Mark), so that one jail
// can be the scene of a hundred attacks and each can still be told from the others.
package attacks
