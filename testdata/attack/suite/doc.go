// Package suite plants canaries, lets the attacks of package attacks loose on them in a
// jail and, where that is harmless, without one, and judges what became of it.
//
//	           ┌── jail of the profile ──▶ answers, trail ──┐
//	canaries ──┤                                            ├──▶ judge ──▶ report
//	           └── no jail, or namespaces ──▶ answers ──────┘
//
// It drives agentjail from outside, by its command line, as anybody would. An attack
// counts as stopped only if the jail gave the answer of a layer, no canary bears the
// attack's mark, and the trail has what a policy decided; and only if the same attack
// gets further on this host without a jail. What can't be told is said to be so.
//
// Attacks on the network run on the stage: a network namespace made for them, which has
// nothing but a loopback interface. It has the addresses of clouds' metadata services
// and of private networks, with a canary on each, and no packet can leave it. The rest
// runs on the host as it is.
package suite
