// Package screen filters what an agent writes to the caller's terminal: what draws on the
// screen comes through, what acts beyond it or makes the terminal type an answer does not.
//
// It is pure: bytes in, bytes out, and a count of what was taken out. The names of the
// sequences are those of ECMA-48, of xterm's ctlseqs (Control Sequences, by Moy et al.) and
// of the keyboard protocol of kitty. What is let through is a list, so that what a terminal
// invents next is taken out until somebody has looked at it.
//
// The filter of package cast is another one on purpose: a recording is shown on a terminal
// that nobody types into, so that it needs none of the modes of keyboard and mouse, and what
// it gets is text already.
package screen
