// Package profiles is the language that says what a jail may do. It turns a
// profile (HCL, native or JSON syntax) into a Spec, which is plain data, and takes
// every decision that a rule of a Spec takes: which host may be connected to,
// which name may be resolved, which path may be read, written or executed.
//
// It is pure. It opens no file, reads no environment variable, resolves no name
// and follows no symbolic link: what it needs of the host comes in through
// Options, and what it decides is carried out by others.
//
// It never guesses. Whatever is not written in a profile is not allowed, an empty
// list allows nothing, and a word that this version does not know is an error,
// never something to skip.
package profiles
