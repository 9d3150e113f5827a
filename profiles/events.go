package profiles

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// Approval says how people are asked.
type Approval struct {
	Timeout int64    `json:"timeout"` // nanoseconds; no answer is a no
	Notify  []string `json:"notify"`
	Quorum  int64    `json:"quorum"` // how many people must say yes

	// Extend is the time (nanoseconds) that people are asked for before the time limit is
	// up; 0: it ends the run.
	Extend int64 `json:"extend,omitempty"`

	Webhook    string  `json:"webhook,omitempty"`     // that is asked too
	WebhookKey *Secret `json:"webhook_key,omitempty"` // that both sides sign with; it has a source and nothing else

	Origin Origin `json:"origin"`
}

// Event is something that a profile says a reaction to.
type Event string

// The events. A budget is reached when nothing is left of one of its limits, or too
// little for what was asked.
const (
	EventEscape  Event = "escape"
	EventAnomaly Event = "anomaly"
	EventLimit   Event = "limit"
	EventBudget  Event = "budget"
)

func onEvents() []string {
	return []string{string(EventEscape), string(EventAnomaly), string(EventLimit), string(EventBudget)}
}

// Reaction is what becomes of the run.
type Reaction string

// The reactions, from the mildest to the hardest. What is refused is refused with each
// of them.
const (
	ReactLog    Reaction = "log"    // it is recorded
	ReactPause  Reaction = "pause"  // the jail is held until a person lets it go on
	ReactStop   Reaction = "stop"   // the agent is told to end (SIGTERM), and ended after a grace period
	ReactKill   Reaction = "kill"   // the run ends at once
	ReactFreeze Reaction = "freeze" // the jail is held, and packed for a person to look at
)

func reactions() []string {
	return []string{string(ReactLog), string(ReactPause), string(ReactStop), string(ReactKill), string(ReactFreeze)}
}

// On is one `on` block.
type On struct {
	Event   Event    `json:"event"`
	Action  Reaction `json:"action"`
	Command []string `json:"command,omitempty"` // of the host: program and arguments, no shell
	Webhook string   `json:"webhook,omitempty"`
	Origin  Origin   `json:"origin"`

	// Of "anomaly": how long is watched before a rate is judged, nanoseconds, and how
	// often one program may be executed. Zero is what the monitor takes by itself.
	After   int64 `json:"after,omitempty"`
	Repeats int64 `json:"repeats,omitempty"`
}

// Reaction is the reaction to an event: the nearest file's, and to record it where none
// says anything.
func (s *Spec) Reaction(e Event) On {
	for _, o := range s.On {
		if o.Event == e {
			return o
		}
	}
	return On{Event: e, Action: ReactLog}
}

func (d *decoder) on(b *hcl.Block, l *layer) {
	c := d.content(b.Body, onSchema())
	r := On{Event: Event(b.Labels[0]), Action: ReactLog, Origin: d.origin(b.DefRange)}
	switch {
	case !slices.Contains(onEvents(), b.Labels[0]):
		d.fail(b.LabelRanges[0], "Unknown event", fmt.Sprintf("%q is no event; the choices are %s.%s", r.Event, strings.Join(quoteAll(onEvents()), ", "), didYouMean(b.Labels[0], onEvents())))
		return
	case slices.ContainsFunc(l.on, func(o On) bool { return o.Event == r.Event }):
		d.fail(b.DefRange, "Duplicate block", fmt.Sprintf("What is done on %q already stands above: put both into one.", r.Event))
		return
	case len(c.Attributes) == 0:
		d.fail(b.DefRange, "Nothing to do", fmt.Sprintf("The block does not say what is done on %q: write for example action = \"stop\".", r.Event))
		return
	}
	if a := c.Attributes["action"]; a != nil {
		if s, ok := d.choice(a.Expr, "action", reactions()...); ok {
			r.Action = Reaction(s)
		}
	}
	if a := c.Attributes["command"]; a != nil {
		r.Command = d.command(a)
	}
	for _, name := range []string{"after", "repeats"} {
		if a := c.Attributes[name]; a != nil && r.Event != EventAnomaly {
			d.fail(a.NameRange, "Wrong attribute", fmt.Sprintf("%s says when something is an anomaly, and this block is about %q: put it into on \"anomaly\".", name, r.Event))
			return
		}
	}
	if a := c.Attributes["after"]; a != nil {
		if n, ok := d.duration(a.Expr); ok {
			r.After = int64(n)
			if n < time.Second {
				d.fail(a.Expr.Range(), "Too short", "Nothing can be told of a run in less than a second: write for example \"5m\".")
			}
		}
	}
	if a := c.Attributes["repeats"]; a != nil {
		if n, ok := d.integer(a.Expr, "number of executions", maxRepeats); ok {
			r.Repeats = n
		}
	}
	if a := c.Attributes["webhook"]; a != nil {
		if r.Webhook = d.url(a, "https", "http"); !private(r.Webhook) {
			d.fail(a.Expr.Range(), "Wrong URL", "What is sent over plain http can be read and changed on its way: write https, or name this machine, as in http://127.0.0.1:9000/event.")
			r.Webhook = ""
		}
	}
	l.on = append(l.on, r)
}

// maxRepeats is more than any run executes one program.
const maxRepeats = 1_000_000_000

// command reads a program of the host and its arguments.
func (d *decoder) command(a *hcl.Attribute) (command []string) {
	words, ok := d.texts(a.Expr)
	switch {
	case ok && d.file.builtin:
		d.fail(a.NameRange, "Wrong command", "A built-in profile runs no program.")
	case ok && (len(words) == 0 || words[0].s == ""):
		d.fail(a.Expr.Range(), "Wrong command", "A command is a list of the program and its arguments: write for example [\"logger\", \"agentjail\"].")
	}
	for _, w := range words {
		if strings.ContainsRune(w.s, 0) {
			d.fail(w.rng, "Wrong command", "An argument can't have a NUL in it.")
		}
		command = append(command, w.s)
	}
	return command
}

// url reads a URL of one of some schemes.
func (d *decoder) url(a *hcl.Attribute, schemes ...string) string {
	t, ok := d.text(a.Expr)
	if !ok {
		return ""
	}
	u, err := url.Parse(t.s)
	if err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) || strings.ContainsFunc(t.s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		d.fail(t.rng, "Wrong URL", fmt.Sprintf("%q is no URL of %s with a host: write for example \"%s://example.com/path\".", t.s, strings.Join(schemes, " or "), schemes[0]))
		return ""
	}
	if u.User != nil {
		d.fail(t.rng, "Wrong URL", "The URL has a user or password in it, which a profile and the trail would show.")
		return ""
	}
	return t.s
}

// private says whether nobody on the way can read what is sent to a URL.
func private(to string) bool {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "http" {
		return err == nil
	}
	a, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// maxQuorum is more people than ever approve one request.
const maxQuorum = 100

func (d *decoder) approval(b *hcl.Block, l *layer) {
	c := d.content(b.Body, approvalSchema())
	l.approvalOrigin = new(d.origin(b.DefRange))
	if a := c.Attributes["timeout"]; a != nil {
		if n, ok := d.duration(a.Expr); ok {
			l.approvalTimeout = new(int64(n))
		}
	}
	if a := c.Attributes["extend"]; a != nil {
		if n, ok := d.duration(a.Expr); ok {
			l.approvalExtend = new(int64(n))
		}
	}
	if a := c.Attributes["quorum"]; a != nil {
		if n, ok := d.integer(a.Expr, "number of people", maxQuorum); ok {
			l.approvalQuorum = &n
		}
	}
	for _, w := range c.Blocks.OfType("webhook") {
		d.approvalWebhook(w, l)
	}
	if a := c.Attributes["notify"]; a != nil {
		ways, _ := d.texts(a.Expr)
		for _, w := range ways {
			if w.s != "desktop" {
				d.fail(w.rng, "Unknown way", fmt.Sprintf("%q is no way to tell people; the one way is \"desktop\".", w.s))
				continue
			}
			if !slices.Contains(l.approvalNotify, w.s) {
				l.approvalNotify = append(l.approvalNotify, w.s)
			}
		}
	}
}

// approvalWebhook reads whom else to ask, and where the key comes from that both sign with.
func (d *decoder) approvalWebhook(b *hcl.Block, l *layer) {
	c := d.content(b.Body, approvalWebhookSchema())
	key := &Secret{Name: "the key of approval's webhook", Origin: d.origin(b.DefRange)}
	if l.approvalWebhook != nil {
		d.fail(b.DefRange, "Duplicate block", "There is a webhook above already, and one is asked.")
		return
	}
	u, err := url.Parse(b.Labels[0])
	switch {
	case err != nil || u.Host == "" || u.User != nil || strings.ContainsFunc(b.Labels[0], func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		d.fail(b.LabelRanges[0], "Wrong URL", fmt.Sprintf("%q is no URL with a host and without a password: write for example \"https://example.com/approve\".", b.Labels[0]))
	case u.Scheme == "https":
	case u.Scheme == "http" && isLoopback(u.Hostname()):
	default:
		d.fail(b.LabelRanges[0], "Wrong URL", "What answers for people is reached by https, or by http on this machine (127.0.0.1).")
	}
	d.secretSource(b, c, key)
	key.Variable = ""
	l.approvalWebhook, l.approvalWebhookKey = &b.Labels[0], key
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
