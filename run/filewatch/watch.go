package filewatch

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentjail/agentjail/audit"
	"golang.org/x/sys/unix"
)

// Config says what is watched.
type Config struct {
	// Group is a fanotify group that PID 1 has marked the upper layer's file system
	// with; nil where it could not.
	Group *os.File
	// Mark makes such a group here; nil where the upper layer's file system has more in it
	// than the layer. It is called where there is no Group.
	Mark func() (*os.File, error)
	// Probe is the name of the file that PID 1 made and removed, to see whether Group works.
	Probe string

	Root   *os.File               // the upper layer, or the workspace itself where there is none
	Lower  string                 // the host's folder below an upper layer; empty without one
	Hidden func(path string) bool // what the jail does not see of it
	Direct bool                   // Root is the workspace itself, and full of folders

	Size int64 // of the trail
	Emit func(audit.Record)
}

// Watch sees changes until it is closed.
type Watch struct {
	how, note, probe string // by what, what that can't do, how it was tried
	counters         counters
	scribe           *scribe
	source           source
	lower            int

	quit    atomic.Bool
	stopped chan struct{}
	done    chan struct{}
	close   sync.Once
}

// source is one of the kernel's ways to tell of changes.
type source interface {
	file() *os.File        // that is readable when there are some
	take(buf []byte) error // what one read gave
	idle()                 // everything that there was is taken
	lost() int64           // how often something was
}

// rest is how long the watcher leaves events in the kernel's queue before it takes them all:
// to be woken for each would cost the agent's machine more than the events do.
const rest = 5 * time.Millisecond

// What is read at once, and how often before anything else is looked at: together more
// than the kernel's queue has (16,384 events, fs.fanotify.max_queued_events), so that what
// was there at the end is read, and a host that goes on writing to a workspace in direct
// mode keeps no run from ending.
const (
	readSize = 64 << 10
	maxReads = 256
)

// Start begins to watch. It fails where the kernel has no way to tell, or none that is
// allowed here; the error says why, and the run goes on without.
func Start(c Config) (*Watch, error) {
	w := &Watch{lower: -1, stopped: make(chan struct{}), done: make(chan struct{})}
	if c.Lower != "" {
		fd, err := unix.Open(c.Lower, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			if c.Group != nil {
				c.Group.Close()
			}
			return nil, &os.PathError{Op: "open", Path: c.Lower, Err: err}
		}
		w.lower = fd
	}
	if c.Hidden == nil {
		c.Hidden = func(string) bool { return false }
	}
	w.scribe = newScribe(&w.counters, c.Size, c.Emit)
	root := int(c.Root.Fd())
	see := &layers{lower: w.lower, upper: root, hidden: c.Hidden}
	emit := func(ch Change) { w.scribe.add(ch, time.Now()) }
	var err error
	if w.source, err = w.choose(c, root, see, emit); err != nil {
		if w.lower >= 0 {
			unix.Close(w.lower)
		}
		return nil, err
	}
	go w.run()
	return w, nil
}

// choose takes fanotify where it can be had, and inotify otherwise.
func (w *Watch) choose(c Config, root int, e eyes, emit func(Change)) (source, error) {
	var why error
	if c.Group != nil {
		s, writes, err := openFanotify(c.Group, root, c.Probe, e, emit)
		if err == nil {
			w.how, w.probe = byFanotify, "a file that PID 1 made and removed was seen"
			if !writes {
				w.note = "this kernel does not tell when a file is written again"
			}
			return s, nil
		}
		c.Group.Close()
		why = err
	} else if c.Mark != nil {
		s, err := markFanotify(c.Mark, root, e, emit)
		if err == nil {
			w.how, w.probe = byFanotify, "the kernel took the mark"
			w.note = "a file that is written again where this kernel tells of it"
			return s, nil
		}
		why = err
	}
	s, err := openInotify(root, c.Direct, e, emit)
	if err != nil {
		return nil, errors.Join(why, err)
	}
	w.how, w.probe = byInotify, "the kernel took the watch"
	w.note = "what comes and goes at once in a new folder may be missed"
	return s, nil
}

const byFanotify, byInotify = "live by fanotify", "live by inotify"

// How says by what changes are seen, and how that was made sure of.
func (w *Watch) How() (how, probe string) {
	if w.note == "" {
		return w.how, w.probe
	}
	return w.how + "; " + w.note, w.probe
}

// Totals are what was seen so far. A nil Watch has seen nothing.
func (w *Watch) Totals() Totals {
	if w == nil {
		return Totals{}
	}
	return w.counters.totals()
}

// Close takes what is left in the kernel's queue and ends the watch: nothing of it holds
// the layer any more.
func (w *Watch) Close() {
	if w == nil {
		return
	}
	w.close.Do(func() {
		w.quit.Store(true)
		close(w.stopped)
		_ = w.source.file().SetReadDeadline(time.Unix(1, 0)) // wakes it; see run
		<-w.done
	})
}

func (w *Watch) run() {
	defer close(w.done)
	f := w.source.file()
	defer func() {
		letGo(f)
		if w.lower >= 0 {
			unix.Close(w.lower)
		}
	}()
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, readSize)
	bad := int64(0)
	for {
		// Before the question whether to quit: Close sets its own after the answer to it.
		deadline := time.Time{}
		if w.scribe.pending() {
			deadline = time.Now().Add(window / 2)
		}
		_ = f.SetReadDeadline(deadline)
		quit := w.quit.Load()
		if quit {
			_ = f.SetReadDeadline(time.Time{})
		}
		broken := false
		err := raw.Read(func(fd uintptr) bool {
			some := false
			for range maxReads {
				n, err := unix.Read(int(fd), buf)
				if err == unix.EINTR {
					continue
				}
				if n <= 0 || err != nil {
					broken = err != unix.EAGAIN
					w.source.idle()
					return some || broken || quit
				}
				some = true
				if w.source.take(buf[:n]) != nil {
					bad++
				}
			}
			return true
		})
		if lost := w.source.lost() + bad; lost > w.counters.lost.Swap(lost) && lost == 1 {
			w.scribe.emit(audit.Finding{Title: "not every change of a file was seen as it happened", Detail: "more happened at once than the kernel's queue holds, or there are more folders than are watched; what has come of it is read when the run has ended",
				Severity: "low", Outcome: audit.Failed})
		}
		now := time.Now()
		switch {
		case quit || broken || err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			w.scribe.end(now)
			return
		case err != nil:
			w.scribe.tick(now)
		default:
			w.scribe.tick(now)
			select {
			case <-time.After(rest):
			case <-w.stopped:
			}
		}
	}
}

// String is what a run's end says of it.
func (w *Watch) String() string {
	t := w.Totals()
	if t.Lost > 0 {
		return fmt.Sprintf("%s at least (%s), with gaps: %d", t, w.how, t.Lost)
	}
	return fmt.Sprintf("%s (%s)", t, w.how)
}
