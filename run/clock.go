package run

import (
	"context"
	"fmt"
	"time"

	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/run/approval"
)

// clock is a run's time limit. It stands still while the run is frozen, and people who
// are asked in time may give more (approval { extend }).
type clock struct {
	s *session

	up    <-chan time.Time   // the time may be up: see again
	soon  <-chan time.Time   // people are to be asked for more: see ask
	given chan time.Duration // they gave it: see extend

	begun   time.Time
	held    time.Duration // that the run was frozen before it began
	allowed time.Duration

	ctx  context.Context
	stop context.CancelFunc
}

// newClock starts the limit's time. Without a limit it never is up.
func (s *session) newClock() *clock {
	c := &clock{s: s, given: make(chan time.Duration)}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.restart()
	return c
}

// restart begins the limit's time anew.
func (c *clock) restart() {
	l := c.s.spec.Limits.Time
	if l == nil {
		return
	}
	c.begun, c.held, c.allowed = time.Now(), c.s.still.spent(), l.Duration()
	c.arm()
}

// left is the time that the run still has.
func (c *clock) left() time.Duration {
	return c.allowed - (time.Since(c.begun) - (c.s.still.spent() - c.held))
}

func (c *clock) arm() {
	left := c.left()
	c.up = time.After(left)
	if c.asks() {
		c.soon = time.After(left - time.Duration(c.s.spec.Approval.Timeout))
	}
}

// asks says whether people are asked for more. A learning run asks nothing.
func (c *clock) asks() bool { return c.s.spec.Approval.Extend > 0 && !c.s.opt.learn }

// again says whether there is time left, since the run was frozen meanwhile.
func (c *clock) again() bool {
	left := c.left()
	if left > 0 {
		c.up = time.After(left)
	}
	return left > 0
}

// ask asks people for more time, as long before the time is up as they have for an
// answer. Nothing waits for it: no answer is a no, and the time is up.
func (c *clock) ask() {
	if early := c.left() - time.Duration(c.s.spec.Approval.Timeout); early > 0 { // it was frozen meanwhile
		c.soon = time.After(early)
		return
	}
	c.soon = nil
	more := time.Duration(c.s.spec.Approval.Extend)
	sub := approval.Subject{Kind: approval.Extend, Key: "time", Rule: c.s.spec.Approval.Origin.String(),
		What: fmt.Sprintf("let the run go on for %s more: its time of %s is up in %s", profiles.FormatDuration(more),
			profiles.FormatDuration(c.allowed), profiles.FormatDuration(max(c.left(), 0).Round(time.Second)))}
	go func() {
		if !c.s.approvals.Ask(c.ctx, sub).Yes {
			return
		}
		select {
		case c.given <- more:
		case <-c.ctx.Done():
		}
	}()
}

// extend gives the run more time.
func (c *clock) extend(more time.Duration) {
	c.allowed += more
	c.arm()
}

// limit is the profile's limit with what people gave to it.
func (c *clock) limit() *profiles.Limit {
	l := *c.s.spec.Limits.Time
	l.Value = int64(c.allowed)
	return &l
}
