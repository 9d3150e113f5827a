package react

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// What a flood of events may cost.
const (
	maxQueue = 64          // messages that wait to be sent
	maxKinds = 256         // different events that are told apart
	again    = time.Minute // the same event is not told again before
)

// Config is what a Dispatcher needs of its run.
type Config struct {
	Run    Run
	On     []profiles.On       // the profile's blocks
	Sink   audit.Sink          // takes what became of commands and webhooks
	Redact func(string) string // takes credentials out of a text; nil for none

	// Act does to the run what a block says: stop, kill, pause or freeze. It is called
	// for each event whose block says so, and never waits.
	Act func(profiles.Reaction, Event)

	Environ []string // of commands: the caller's own
	Dir     string   // where commands start

	now func() time.Time
}

// Dispatcher takes a run's events.
type Dispatcher struct {
	cfg   Config
	queue chan job
	done  chan struct{}
	stop  context.CancelFunc

	mu     sync.Mutex
	closed bool
	sent   int64
	missed int64
	seen   map[string]*repeat
}

type job struct {
	on  profiles.On
	msg Message
}

// repeat counts one event since it was told.
type repeat struct {
	told  time.Time
	count int64
}

// New makes a dispatcher; Close ends it.
func New(c Config) *Dispatcher {
	if c.now == nil {
		c.now = time.Now
	}
	ctx, stop := context.WithCancel(context.Background())
	d := &Dispatcher{cfg: c, queue: make(chan job, maxQueue), done: make(chan struct{}), stop: stop, seen: map[string]*repeat{}}
	go d.work(ctx)
	return d
}

// Happened does what the profile says about an event. It never waits.
func (d *Dispatcher) Happened(e Event) {
	on, ok := d.reaction(e.Kind)
	if !ok {
		return
	}
	if on.Action != profiles.ReactLog && !e.Ends {
		d.cfg.Act(on.Action, e)
	}
	if len(on.Command) == 0 && on.Webhook == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		d.missed++
		return
	}
	now := d.cfg.now()
	repeated, tell := d.count(e, now)
	if !tell {
		return
	}
	e.Title, e.Detail = clean(e.Title, d.cfg.Redact), clean(e.Detail, d.cfg.Redact)
	if e.Process != nil {
		e.Process = &Process{e.Process.PID, clean(e.Process.Name, d.cfg.Redact)}
	}
	msg := Message{Version: 1, ID: d.cfg.Run.ID + "-" + strconv.FormatInt(d.sent+1, 10), Time: now.UTC(), Run: d.cfg.Run, Event: e, Action: on.Action, Repeated: repeated}
	select {
	case d.queue <- job{on, msg}:
		d.sent++
	default:
		d.missed++
	}
}

func (d *Dispatcher) reaction(k profiles.Event) (profiles.On, bool) {
	for _, o := range d.cfg.On {
		if o.Event == k {
			return o, true
		}
	}
	return profiles.On{}, false
}

// count says whether an event is to be told, and how often it happened untold before.
// What the agent can vary in it (a program's name, a host) does not make it another
// one; the caller holds the lock.
func (d *Dispatcher) count(e Event, now time.Time) (repeated int64, tell bool) {
	key := string(e.Kind) + "\x00" + e.Title + "\x00" + e.Rule
	if _, known := d.seen[key]; !known && len(d.seen) >= maxKinds {
		key = string(e.Kind)
	}
	r := d.seen[key]
	if r == nil {
		d.seen[key] = &repeat{told: now}
		return 0, true
	}
	if now.Sub(r.told) < again {
		r.count++
		return 0, false
	}
	repeated = r.count
	r.told, r.count = now, 0
	return repeated, true
}

// work sends one message after the other.
func (d *Dispatcher) work(ctx context.Context) {
	defer close(d.done)
	for j := range d.queue {
		if ctx.Err() != nil {
			d.miss()
			continue
		}
		body, err := json.Marshal(j.msg)
		if err != nil { // a figure that is no number
			d.result(j, "the message", err)
			continue
		}
		if len(j.on.Command) > 0 {
			d.result(j, "the command "+strconv.Quote(j.on.Command[0]), runCommand(ctx, j.on.Command, d.cfg.Environ, d.cfg.Dir, append(body, '\n')))
		}
		if j.on.Webhook != "" {
			d.result(j, "the webhook "+strconv.Quote(host(j.on.Webhook)), post(ctx, j.on.Webhook, j.msg.ID, body))
		}
	}
}

func (d *Dispatcher) miss() {
	d.mu.Lock()
	d.missed++
	d.mu.Unlock()
}

// result records what became of a command or a webhook.
func (d *Dispatcher) result(j job, what string, err error) {
	f := audit.Finding{Title: fmt.Sprintf("%s was told of the event %q", what, j.on.Event), Detail: "message " + j.msg.ID, Severity: "informational", Outcome: audit.Allowed, Rule: j.on.Origin.String()}
	if err != nil {
		f.Title = fmt.Sprintf("%s could not be told of the event %q", what, j.on.Event)
		f.Detail += ": " + clean(err.Error(), d.cfg.Redact)
		f.Severity, f.Outcome = "medium", audit.Failed
	}
	d.cfg.Sink.Emit(f)
}

// lastWords is how long a run's end waits for messages that are still to be sent.
const lastWords = 30 * time.Second

// Close waits until what happened was told, within bounds, and records what was not.
func (d *Dispatcher) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	close(d.queue)
	d.mu.Unlock()
	timer := time.AfterFunc(lastWords, d.stop)
	<-d.done
	timer.Stop()
	d.stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	repeated := int64(0)
	for _, r := range d.seen {
		repeated += r.count
	}
	if d.missed+repeated > 0 {
		d.cfg.Sink.Emit(audit.Finding{Title: "not every event was told to the profile's command or webhook", Severity: "low", Outcome: audit.Failed,
			Detail: fmt.Sprintf("%d were repetitions within %v of one that was told; %d came faster than they could be told, or too late", repeated, again, d.missed)})
	}
	return nil
}
