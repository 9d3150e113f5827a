package run

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/run/approval"
	"github.com/agentjail/agentjail/run/control"
)

// lookEvery is how often a terminal that waits looks for questions.
const lookEvery = 500 * time.Millisecond

// converse puts one question after the other to the person at the terminal.
func (a *approver) converse(ctx context.Context) error {
	fmt.Fprintln(a.h.Stdout, "waiting for questions; Ctrl-C ends it")
	lines := readLines(a.h.Stdin)
	done := map[string]bool{} // answered or left to others
	flooded := map[string]int{}
	for {
		runs, err := a.ask(ctx)
		if err != nil {
			return err
		}
		r, q := next(runs, done)
		for _, r := range runs {
			if r.Flooded > flooded[r.Run] {
				flooded[r.Run] = r.Flooded
				writeFlooded(a.h.Stdout, r)
			}
		}
		if q == nil {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case _, ok := <-lines: // typed to nobody
				if !ok {
					return nil
				}
			case <-time.After(lookEvery):
			}
			continue
		}
		done[q.ID] = true
		over, err := a.put(ctx, lines, r, *q)
		if over || err != nil {
			return err
		}
	}
}

// next is the oldest question that was not put yet.
func next(runs []askedRun, done map[string]bool) (askedRun, *approval.Question) {
	for _, r := range runs {
		for i := range r.Questions {
			if !done[r.Questions[i].ID] {
				return r, &r.Questions[i]
			}
		}
	}
	return askedRun{}, nil
}

// put shows a question and takes the answer. What was typed before it was shown is
// thrown away: it was meant for something else. A question that somebody else answered,
// or nobody in time, is left by itself: it must not hide the next one.
func (a *approver) put(ctx context.Context, lines <-chan string, r askedRun, q approval.Question) (over bool, err error) {
	fmt.Fprintln(a.h.Stdout)
	writeQuestion(a.h.Stdout, r, q, time.Now())
	// An error is of an input that is no terminal, which has no such queue.
	_ = unix.IoctlSetInt(int(a.h.Stdin.Fd()), unix.TCFLSH, unix.TCIFLUSH)
	drain(lines)
	for asked := false; ; {
		if !asked {
			fmt.Fprintf(a.h.Stdout, "%s: yes once (y), for ten minutes (t), for the run (r); no (n), no once (o); leave it (l)? ", q.ID)
			asked = true
		}
		var line string
		select {
		case <-ctx.Done():
			return true, ctx.Err()
		case <-time.After(lookEvery):
			open, err := a.open(ctx, r, q.ID)
			if err != nil {
				return true, err
			}
			if !open {
				fmt.Fprintf(a.h.Stdout, "\n%s: it is open no more: somebody answered it, or nobody in time\n", q.ID)
				return false, nil
			}
			continue
		case text, ok := <-lines:
			if !ok {
				fmt.Fprintln(a.h.Stdout)
				return true, nil
			}
			line, asked = text, false
		}
		p := answerParams{ID: q.ID}
		switch strings.TrimSpace(line) {
		case "y":
			p.Yes, p.Once = true, true
		case "t":
			p.Yes, p.For = true, 10*time.Minute
		case "r":
			p.Yes = true
		case "n":
		case "o":
			p.Once = true
		case "l":
			return false, nil
		default:
			continue
		}
		if err := a.answer(ctx, r, q, p); err != nil {
			if errors.Is(err, context.Canceled) {
				return true, err
			}
			// Somebody else was faster, or nobody was fast enough: the next question.
			text, _, _ := strings.Cut(err.Error(), "\n")
			fmt.Fprintf(a.h.Stdout, "%s: %s\n", q.ID, text)
		}
		return false, nil
	}
}

// open says whether a question waits for answers still.
func (a *approver) open(ctx context.Context, r askedRun, id string) (bool, error) {
	var l approval.List
	err := a.call(ctx, r, methodApprovals, nil, &l)
	if errors.Is(err, control.ErrNoRun) {
		return false, nil
	}
	return slices.ContainsFunc(l.Questions, func(q approval.Question) bool { return q.ID == id }), err
}

// maxTyped bounds a line that is typed.
const maxTyped = 1 << 10

// readLines reads lines until the end of input.
func readLines(r io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		in := bufio.NewScanner(r)
		in.Buffer(nil, maxTyped)
		for in.Scan() {
			lines <- in.Text()
		}
	}()
	return lines
}

// drain takes what has been read and not been taken.
func drain(lines <-chan string) {
	for {
		select {
		case _, ok := <-lines:
			if !ok {
				return
			}
		default:
			return
		}
	}
}
