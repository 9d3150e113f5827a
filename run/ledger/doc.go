// Package ledger keeps what is spent of a user's budgets: the arithmetic of days and
// weeks (account.go), the files that all of the user's runs share (store.go), and one
// run's use of them (session.go).
//
//	gateway ──question──▶ supervisor ──▶ Session ──▶ Store ──▶ $XDG_STATE_HOME/agentjail/budgets/NAME.json
//	                                      per_run     lock      per_day, per_week
//
// What is reserved is spent from that moment on. Settling gives back what was too
// much; a run that is killed in between gives back nothing.
//
// The package never decides what may be spent (that is package profiles), and never
// reads a file of accounts at half its worth: one that is not whole and well formed is
// an error, and nothing is spent from it.
package ledger
