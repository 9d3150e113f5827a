// Package control is the socket by which a person's other terminal talks to a running
// run: what is asked, what is answered, and orders to the run.
//
//	client ──▶ supervisor   {"version":1,"method":"answer","params":{...}}\n
//	client ◀── supervisor   {"version":1,"result":{...}}\n   or   {"version":1,"error":"..."}\n
//
// Each line is one message of bounded length, one request is answered after the other,
// and a connection may carry many. The package knows no method: whoever has something
// to offer puts it into the table (Server.Handle) before the first client is served.
//
// # Who may
//
// The socket is a file of mode 0600 in the run's own folder, which nobody else may list or write to, and whoever
// connects is asked of the kernel (SO_PEERCRED, unix(7)): the run's user and root are
// served, nobody else. An agent of an ordinary user's jail has the same user, so its
// user is not what keeps it out. It has no path to the socket (the folder is not in its
// file view, and there is no abstract name), it has no network to it, and, should both
// fail one day, who connects from another pid namespace than the supervisor's is
// refused too, and reported.
//
// # Who may not harm
//
// A client that stalls, floods, lies about lengths or dies in the middle of a word hurts
// nobody: messages and connections are bounded, each request has a time to arrive and
// each answer one to be taken, and where there are too many connections the one that
// has been waiting longest goes.
package control
