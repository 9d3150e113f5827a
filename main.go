// Agentjail runs one AI agent as if it were an adversary. See package run for the
// command line, and docs/ for what it stops and what it does not.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/jail"
	_ "github.com/agentjail/agentjail/jail/initstage" // libcontainer's first stage
	"github.com/agentjail/agentjail/jail/residue"
	"github.com/agentjail/agentjail/netns"
	"github.com/agentjail/agentjail/run"
)

// version is set by the linker.
var version = "dev"

func main() { os.Exit(dispatch()) }

// dispatch tells the processes apart that this binary is: a jail's PID 1, a network
// gateway, and the command line. (Package initstage is the fourth.)
func dispatch() int {
	if err := roomForPoller(); err != nil {
		return complain(err)
	}
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case jail.ShimArg:
			return complain(jail.Shim(jail.Hooks{Network: network}))
		case netns.GatewayArg:
			time.AfterFunc(gatewayBegun, residue.Release)
			return complain(netns.GatewayMain())
		}
	}
	host, err := run.ThisHost(version)
	if err != nil {
		return complain(err)
	}
	return run.Main(host, os.Args)
}

// gatewayBegun is when a gateway has done what only its start needs.
const gatewayBegun = time.Second

// roomForPoller refuses to go on with too few descriptors for the Go runtime's poller: it
// makes two as the first file is opened, and ends the process with a trace of its own
// where it can't (runtime/netpoll_epoll.go). The third is that file.
func roomForPoller() error {
	for range 3 {
		fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			return fmt.Errorf("start: %w\nhint: raise the limit of open files (ulimit -n)", err)
		}
		defer unix.Close(fd)
	}
	return nil
}

// network is what PID 1 does for package netns.
func network(plan json.RawMessage) ([]*os.File, error) {
	var p netns.LinkPlan
	if err := json.Unmarshal(plan, &p); err != nil {
		return nil, err
	}
	return netns.SetUp(p)
}

func complain(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprint(os.Stderr, run.Printable(err))
	return run.ExitAgentjail
}
