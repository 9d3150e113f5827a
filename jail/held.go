package jail

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// maxHeld bounds the execs that wait for people at once.
const maxHeld = 64

// heldPatience is how long a caller that was killed may be held still, in milliseconds:
// the kernel tells nobody that a notification is void.
const heldPatience = 1000

// ProgramQuestion is what a person is asked about an exec. Path and Argv are the agent's
// own text.
type ProgramQuestion struct {
	Key     string // the same for the same files with the same arguments
	Path    string // the file behind what was asked for
	Argv    []string
	New     bool // the agent wrote it, or could have
	Script  bool // more than one program is started
	Rule    string
	Reason  string
	Process audit.Process // who executes
}

// ProgramAsker asks people, and waits for them. Where ctx ends, the caller is gone.
type ProgramAsker func(ctx context.Context, q ProgramQuestion) (yes bool, reason string)

// held are the execs that wait for people. Their callers stand in execve and nobody else
// does: the goroutine that answers notifications goes on, and asks come back to it.
type held struct {
	ask     ProgramAsker
	wake    *os.File // an eventfd: an answer is there
	answers chan heldAnswer
	waiting map[uint64]heldExec // by the notification; the answering goroutine's
}

type heldExec struct {
	req    seccompNotif
	key    string
	rule   string // that asks
	cancel context.CancelFunc
}

type heldAnswer struct {
	id  uint64
	yes bool
	why string
}

func newHeld(ask ProgramAsker) (*held, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	return &held{ask: ask, wake: os.NewFile(uintptr(fd), "held execs"), answers: make(chan heldAnswer, maxHeld), waiting: map[uint64]heldExec{}}, nil
}

// patience is how long to wait for notifications, for poll(2).
func (h *held) patience() int {
	if len(h.waiting) == 0 {
		return -1
	}
	return heldPatience
}

// end tells everybody who is asked that nobody waits any more.
func (h *held) end() {
	for _, w := range h.waiting {
		w.cancel()
	}
}

func (h *held) close() { h.wake.Close() }

// key is what a person's yes is for: these files, and all arguments of each.
func (s start) key(rec audit.Exec) string {
	var b strings.Builder
	for _, f := range s.files {
		fmt.Fprintf(&b, "%s\x00", f)
	}
	for _, e := range s.execs {
		fmt.Fprintf(&b, "%d\x00%s\x00%s\x00", len(e.Argv), e.Resolved, strings.Join(e.Argv, "\x00"))
	}
	fmt.Fprintf(&b, "%d %d", rec.ArgsCut, rec.ArgBytes) // what was cut off is in neither
	return b.String()
}

// hold keeps a caller waiting until a person has decided, or says why it does not.
func (n *notifier) hold(req seccompNotif, rec audit.Exec, s start, r refusal) (why string, held bool) {
	h := n.held
	switch {
	case h.ask == nil:
		return r.reason + ", and nobody can be asked", false
	case rec.ArgsCut > 0 || rec.ArgBytes >= maxArgBytes:
		return r.reason + ", and it has more arguments than a person can be shown", false
	case len(h.waiting) >= maxHeld:
		n.forgetGone()
		if len(h.waiting) >= maxHeld {
			return fmt.Sprintf("%s, and %d programs wait for people already", r.reason, maxHeld), false
		}
	}
	q := ProgramQuestion{Key: s.key(rec), Path: rec.Process.Path, Argv: rec.Process.Argv, New: s.own, Script: len(s.execs) > 1, Rule: r.rule, Reason: r.reason, Process: rec.Process}
	if len(s.execs) > 0 && s.execs[0].Resolved != "" {
		q.Path = s.execs[0].Resolved
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.waiting[req.id] = heldExec{req: req, key: q.Key, rule: r.rule, cancel: cancel}
	go func() {
		defer cancel()
		yes, why := h.ask(ctx, q)
		select {
		case h.answers <- heldAnswer{req.id, yes, why}:
		case <-ctx.Done(): // nobody waits for it, and the channel may be full of such
			return
		}
		one := binary.NativeEndian.AppendUint64(nil, 1)
		_, _ = h.wake.Write(one) // an error is of a jail that has ended
	}()
	return "", true
}

// forgetGone lets go of callers that were killed, or that a signal took out of execve:
// these come again with another notification.
func (n *notifier) forgetGone() {
	for id, w := range n.held.waiting {
		if !n.valid(id) {
			w.cancel()
			delete(n.held.waiting, id)
		}
	}
}

// release answers the callers that people have decided about.
func (n *notifier) release(woken bool) {
	h := n.held
	if woken {
		var count [8]byte
		_, _ = unix.Read(int(h.wake.Fd()), count[:]) // EAGAIN: read already
	}
	for {
		select {
		case a := <-h.answers:
			w, ok := h.waiting[a.id]
			if !ok {
				continue // it was given up
			}
			w.cancel()
			delete(h.waiting, a.id)
			n.released(w, a)
		default:
			if len(h.waiting) > 0 && !woken {
				n.forgetGone()
			}
			return
		}
	}
}

// released answers one of them. What it would execute is looked at once more: another
// thread of its process may have rewritten the arguments meanwhile, and somebody the file.
func (n *notifier) released(w heldExec, a heldAnswer) {
	rec, ids, s, known, valid := n.see(&w.req)
	if !valid {
		return
	}
	r := refusal{reason: cmp.Or(a.why, "a person did not allow it"), rule: w.rule}
	if a.yes {
		if !known || s.key(rec) != w.key {
			r.reason = "what was to be started was changed while a person was asked about it"
			n.sink.Emit(audit.Finding{Title: "a program was changed while a person was asked about it", Severity: "high", Outcome: audit.Blocked, Process: rec.Process,
				Detail: "its arguments or its file are not what the person was shown"})
		} else {
			r, _ = n.judge.rules.judge(s, true)
		}
	}
	n.decide(&w.req, rec, ids, r)
}
