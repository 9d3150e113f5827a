package run

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// signals takes the signals that are meant for the agent or for the run.
type signals struct {
	ch    chan os.Signal
	asked int // how often somebody asked the run to end
}

func newSignals() *signals {
	c := &signals{ch: make(chan os.Signal, 16)}
	signal.Notify(c.ch, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2,
		unix.SIGWINCH, unix.SIGTSTP, unix.SIGCONT)
	// A reader of our output that went away must not end us half way: writes then
	// say EPIPE, and the agent gets its own SIGPIPE.
	signal.Ignore(unix.SIGPIPE)
	return c
}

func (c *signals) stop() { signal.Stop(c.ch) }

// grace is how long an agent that was told to end (TERM, HUP) may take.
const grace = 10 * time.Second

// impatient is how many times a person presses Ctrl-C before it is a kill.
const impatient = 3

// ends says whether a signal asks the run to end, and how long that may take; 0 is
// at once.
func (c *signals) ends(sig syscall.Signal) (ends bool, within time.Duration) {
	switch sig {
	case unix.SIGTERM, unix.SIGHUP:
		c.asked++
		if c.asked >= impatient {
			return true, 0
		}
		return true, grace
	case unix.SIGINT, unix.SIGQUIT:
		if c.asked++; c.asked >= impatient {
			return true, 0
		}
	}
	return false, 0
}
