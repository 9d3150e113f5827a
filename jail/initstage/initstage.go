// Package initstage is what this program is when libcontainer starts it inside new
// namespaces: libcontainer's own first stage, which sets the container up and executes
// PID 1. Importing it is enough.
//
// It takes over while Go initialises packages, as libcontainer means it to be done: what
// only the command line needs (TLS, the language of profiles, reports) is not initialised
// for a process that lives for some milliseconds and needs none of it. Go initialises a
// package as soon as all that it imports is, in the order of their names (Go
// specification, "Package initialization"), so this package imports nothing of ours.
//
// It never runs on the host's side: without libcontainer's pipe it does nothing.
package initstage

import (
	"os"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // joins namespaces before Go starts
)

// arg is fixed in libcontainer.
const arg = "init"

func init() {
	if len(os.Args) > 1 && os.Args[1] == arg && os.Getenv("_LIBCONTAINER_INITPIPE") != "" {
		libcontainer.Init() // does not return
	}
}
