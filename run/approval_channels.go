package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/run/approval"
	"github.com/agentjail/agentjail/run/approval/channel"
)

// maxOnTheWay bounds the questions that are on their way to the desktop and the webhook at
// once: as many as can be open, and some that were answered in another way meanwhile.
const maxOnTheWay = 32

// channels tell people who sit at no terminal of agentjail's. The control socket is there
// beside them, so that one that does not work is recorded and fails nothing.
type channels struct {
	s       *session
	desktop string // the session bus; "-" for none
	ctx     context.Context
	cancel  context.CancelFunc
	slots   chan struct{}
	all     sync.WaitGroup
	once    sync.Once // the desktop's failure is told once
}

// loadWebhook reads the webhook's key before anything is started.
func (s *session) loadWebhook() error {
	a := s.spec.Approval
	if a.Webhook == "" || s.opt.DryRun {
		return nil
	}
	if err := closeMemory(); err != nil {
		return err
	}
	key, err := s.resolveSecret(*a.WebhookKey)
	if err == nil {
		s.webhook, err = channel.NewWebhook(a.Webhook, key, s.id)
	}
	if err != nil {
		return fmt.Errorf("%s: the webhook of approval: %w", a.WebhookKey.Origin, err)
	}
	s.webhookKey = string(key)
	return nil
}

func (s *session) openChannels() {
	c := &channels{s: s, desktop: "-", slots: make(chan struct{}, maxOnTheWay)}
	if slices.Contains(s.spec.Approval.Notify, "desktop") {
		c.desktop = s.host.getenv("DBUS_SESSION_BUS_ADDRESS")
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	s.channels = c
	s.stack.push("stop telling people", func() error { c.cancel(); c.all.Wait(); return nil })
}

// tell never waits.
func (c *channels) tell(q approval.Question) {
	if c.desktop != "-" {
		c.start(func() {
			if err := channel.Notify(c.ctx, c.desktop, q); err != nil && c.ctx.Err() == nil {
				c.once.Do(func() { c.failed("the desktop can't be told of questions", err, "low") })
			}
		})
	}
	if c.s.webhook != nil {
		c.start(func() { c.ask(q) })
	}
}

func (c *channels) start(do func()) {
	select {
	case c.slots <- struct{}{}:
	default:
		c.failed("a question was not passed on", fmt.Errorf("%d are on their way already", maxOnTheWay), "low")
		return
	}
	c.all.Go(func() {
		defer func() { <-c.slots }()
		do()
	})
}

// ask asks the webhook.
func (c *channels) ask(q approval.Question) {
	a, answered, err := c.s.webhook.Ask(c.ctx, q)
	switch {
	case c.ctx.Err() != nil:
		return // the run is over
	case errors.Is(err, channel.ErrUnsigned):
		c.failed("an answer to a question was not the webhook's", fmt.Errorf("question %s: %w; it is no answer", q.ID, err), "high")
	case errors.Is(err, context.DeadlineExceeded):
		// Nobody has answered in time, which the question's own record says.
	case err != nil:
		c.failed("the webhook has not answered a question", fmt.Errorf("question %s: %w", q.ID, err), "low")
	case answered:
		a.By.UID = uint32(c.s.host.UID)
		// Somebody else was faster, or its time is over: it changes nothing.
		_, _ = c.s.approvals.Answer(q.ID, a)
	}
}

func (c *channels) failed(title string, err error, severity string) {
	outcome := audit.Failed
	if severity == "high" {
		outcome = audit.Blocked
	}
	c.s.sink.Emit(audit.Finding{Title: title, Detail: err.Error(), Severity: severity, Outcome: outcome})
}

// redacted are the values that the trail must not have.
func (s *session) redacted() []string {
	if s.webhookKey == "" {
		return s.tls.redact
	}
	return append(slices.Clone(s.tls.redact), s.webhookKey)
}

// checkWebhookKey refuses a run whose agent would be given what its own questions are
// answered with.
func (s *session) checkWebhookKey(lists ...[]string) error {
	for _, list := range lists {
		if s.webhookKey != "" && slices.ContainsFunc(list, func(v string) bool { return strings.Contains(v, s.webhookKey) }) {
			return fmt.Errorf("%s: the key of approval's webhook would be given to the agent\nhint: take it out of pass_env, env and the command line", s.spec.Approval.WebhookKey.Origin)
		}
	}
	return nil
}
