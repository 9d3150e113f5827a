package approval

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"
)

// The bounds; doc.go says what they are for.
const (
	maxOpen    = 16  // questions at once
	maxHeld    = 128 // actions at once
	maxFresh   = 30  // new questions in a minute
	maxHistory = 4096

	// A no that is for what is held, and the no of nobody's answer, hold this long: a
	// shell that is refused one program of PATH tries the next at once, which is the same.
	lately  = 10 * time.Second
	maxName = 64 // bytes of an approver's name
)

// Config is what a Board needs.
type Config struct {
	Timeout time.Duration // no answer in time is a no
	Quorum  int           // how many must say yes
	Prefix  string        // of the questions' numbers

	// Record is told of every step, in order, and may not call the board. It may be nil.
	Record func(Event)

	// Changed is told of every question that was opened, outside of any lock. It may be
	// nil, and may not block.
	Changed func(Question)
}

// Board keeps the questions of one run.
type Board struct {
	cfg Config

	mu      sync.Mutex
	last    int
	open    []*question // in the order in which they were asked
	grants  map[string]grant
	history map[string]*Before
	fresh   []time.Time // of new questions in the last minute
	recent  map[string]recent
	held    int
	flooded int
	closed  bool
}

// question is an open one.
type question struct {
	subject  Subject
	key      string
	asked    time.Time
	deadline time.Time
	id       string
	number   int
	before   Before
	answers  []Answer
	waiting  map[*waiter]bool
	timer    *time.Timer
}

// waiter is an action that is held.
type waiter struct {
	decided chan Decision // has room for the one
}

// grant is an answer that holds for what comes: a yes, or a no.
type grant struct {
	yes    bool
	until  time.Time // zero: to the run's end
	most   int64     // millionths at once
	id     string
	number int
	by     []Answer
	timer  *time.Timer
	origin Subject
}

// New makes a board.
func New(c Config) *Board {
	return &Board{cfg: c, grants: map[string]grant{}, history: map[string]*Before{}, recent: map[string]recent{}}
}

// recent is a no that was just given.
type recent struct {
	Decision
	until time.Time
}

// Errors of Answer.
var (
	ErrNotOpen = errors.New("no such question is open")
	ErrScope   = errors.New("an answer holds once, for a time, or for the run")
)

// Ask holds its caller until there is a decision. Where ctx ends before, whoever waited
// is gone, and the answer is no.
func (b *Board) Ask(ctx context.Context, s Subject) Decision {
	w, d := b.enter(s)
	if w == nil {
		return d
	}
	select {
	case d := <-w.decided:
		return d
	case <-ctx.Done():
		return b.giveUp(w)
	}
}

// enter decides at once, or gives whoever asks a place to wait in.
func (b *Board) enter(s Subject) (*waiter, Decision) {
	b.mu.Lock()
	now := time.Now()
	key := string(s.Kind) + "\x00" + s.Key
	if g, ok := b.grants[key]; ok && !g.over(now) {
		if !g.yes && s.Amount >= g.most {
			b.mu.Unlock()
			return nil, Decision{ID: g.id, Reason: "a person said no to this before (question " + g.id + "), and that holds for the run"}
		}
		if g.yes && s.Amount <= g.most {
			b.mu.Unlock()
			return nil, Decision{Yes: true, ID: g.id}
		}
	}
	if r, ok := b.recent[key]; ok && now.Before(r.until) && s.Amount == 0 {
		b.mu.Unlock()
		return nil, r.Decision
	}
	if b.closed {
		b.mu.Unlock()
		return nil, Decision{Reason: "the run is ending, and nobody is asked any more"}
	}
	w := &waiter{decided: make(chan Decision, 1)}
	if b.held >= maxHeld {
		d := b.flood(s, fmt.Sprintf("%d actions wait for people already", maxHeld))
		b.mu.Unlock()
		return nil, d
	}
	if i := slices.IndexFunc(b.open, func(q *question) bool { return q.key == key && s.Amount == 0 }); i >= 0 {
		b.open[i].waiting[w] = true
		b.held++
		b.mu.Unlock()
		return w, Decision{}
	}
	b.fresh = slices.DeleteFunc(b.fresh, func(t time.Time) bool { return now.Sub(t) >= time.Minute })
	switch {
	case len(b.open) >= maxOpen:
		d := b.flood(s, fmt.Sprintf("%d questions are open already", maxOpen))
		b.mu.Unlock()
		return nil, d
	case len(b.fresh) >= maxFresh:
		d := b.flood(s, fmt.Sprintf("people were asked %d times in the last minute", maxFresh))
		b.mu.Unlock()
		return nil, d
	}
	b.fresh = append(b.fresh, now)
	b.last++
	q := &question{subject: s, key: key, asked: now, deadline: now.Add(b.cfg.Timeout), id: b.cfg.Prefix + strconv.Itoa(b.last), number: b.last, waiting: map[*waiter]bool{w: true}}
	if h := b.past(key); h != nil {
		q.before = *h
		h.Asked++
	}
	b.held++
	b.open = append(b.open, q)
	q.timer = time.AfterFunc(b.cfg.Timeout, func() { b.expire(q) })
	seen := b.view(q)
	b.record(Event{Step: Asked, Question: seen})
	b.mu.Unlock()
	if b.cfg.Changed != nil {
		b.cfg.Changed(seen)
	}
	return w, Decision{}
}

// flood refuses what nobody could look at.
func (b *Board) flood(s Subject, why string) Decision {
	b.flooded++
	q := &question{subject: s, asked: time.Now(), deadline: time.Now()}
	b.record(Event{Step: Flooded, Question: b.view(q), Reason: why})
	return Decision{Reason: "a person would have to decide, and " + why}
}

// past is how often a thing was asked before. Of what is beyond the bound nobody knows
// it, which is shown as never.
func (b *Board) past(key string) *Before {
	h := b.history[key]
	if h == nil && len(b.history) < maxHistory {
		h = &Before{}
		b.history[key] = h
	}
	return h
}

func (b *Board) record(e Event) {
	if b.cfg.Record != nil {
		b.cfg.Record(e)
	}
}

// giveUp takes a waiter away. The last one takes the question along.
func (b *Board) giveUp(w *waiter) Decision {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range b.open {
		if !q.waiting[w] {
			continue
		}
		delete(q.waiting, w)
		b.held--
		if len(q.waiting) == 0 {
			b.end(q, Withdrawn, Decision{})
		}
		return Decision{ID: q.id, Reason: "it was given up before a person had answered"}
	}
	return <-w.decided // just now
}

// expire ends a question that nobody has answered.
func (b *Board) expire(q *question) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.open, q) {
		return
	}
	b.end(q, TimedOut, Decision{ID: q.id, Reason: fmt.Sprintf("a person would have to allow this, and nobody has within %s (question %s)", b.cfg.Timeout, q.id)})
}

// end takes a question away and tells everybody who waits.
func (b *Board) end(q *question, how Step, d Decision) {
	q.timer.Stop()
	b.open = slices.DeleteFunc(b.open, func(o *question) bool { return o == q })
	if h := b.history[q.key]; h != nil {
		switch how {
		case Granted:
			h.Yes++
		case Refused:
			h.No++
		case TimedOut:
			h.TimedOut++
		}
	}
	if how == Refused || how == TimedOut {
		now := time.Now()
		maps.DeleteFunc(b.recent, func(_ string, r recent) bool { return !now.Before(r.until) })
		b.recent[q.key] = recent{d, now.Add(lately)}
	}
	e := Event{Step: how, Question: b.view(q), Reason: d.Reason}
	if g, ok := b.grants[q.key]; ok && g.id == q.id {
		e.Until = g.until
	}
	b.record(e)
	for w := range q.waiting {
		w.decided <- d
		b.held--
	}
	clear(q.waiting)
}

// Result is what came of an answer.
type Result struct {
	Question Question `json:"question"`
	Over     bool     `json:"over"`    // the question is decided
	Yes      bool     `json:"yes"`     // so far, or for good
	Missing  int      `json:"missing"` // how many more must say yes
}

// Answer takes one approver's answer to a question.
func (b *Board) Answer(id string, a Answer) (Result, error) {
	if a.Once && a.For != 0 || a.For < 0 {
		return Result{}, ErrScope
	}
	a.By.Name = cut(a.By.Name, maxName)
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.open, func(q *question) bool { return q.id == id })
	if i < 0 {
		return Result{}, ErrNotOpen
	}
	q := b.open[i]
	a.At = time.Now()
	if j := slices.IndexFunc(q.answers, func(o Answer) bool {
		return o.By.UID == a.By.UID && o.By.Name == a.By.Name && o.By.Channel == a.By.Channel
	}); j >= 0 {
		// Said again, and counted once. Everybody in the list said yes, so that there is
		// only the scope to change.
		q.answers[j] = a
	} else {
		q.answers = append(q.answers, a)
	}
	b.record(Event{Step: Answered, Question: b.view(q), Answer: &a})
	if !a.Yes {
		if !a.Once {
			b.grant(q, false, []Answer{a}) // one no is enough
		}
		res := Result{Over: true, Question: b.view(q)}
		b.end(q, Refused, Decision{ID: q.id, Reason: "a person said no (question " + q.id + ")"})
		return res, nil
	}
	res := Result{Yes: true, Missing: max(0, b.quorum()-len(q.answers)), Question: b.view(q)}
	if res.Missing == 0 {
		res.Over = true
		if once, _ := scope(q.answers); !once {
			b.grant(q, true, q.answers)
		}
		b.end(q, Granted, Decision{Yes: true, ID: q.id})
	}
	return res, nil
}

func (b *Board) quorum() int { return max(1, b.cfg.Quorum) }

// scope is the shortest of what was said.
func scope(answers []Answer) (once bool, d time.Duration) {
	for _, a := range answers {
		once = once || a.Once
		if a.For > 0 && (d == 0 || a.For < d) {
			d = a.For
		}
	}
	return once, d
}

// grant makes an answer hold for what comes.
func (b *Board) grant(q *question, yes bool, by []Answer) {
	_, d := scope(by)
	g := grant{yes: yes, most: q.subject.Amount, id: q.id, number: q.number, by: slices.Clone(by), origin: q.subject}
	if d > 0 {
		g.until = time.Now().Add(d)
		g.timer = time.AfterFunc(d, func() { b.lapse(q) })
	}
	if old, ok := b.grants[q.key]; ok && old.timer != nil {
		old.timer.Stop()
	}
	b.grants[q.key] = g
}

// over says whether a grant is; the moment of its end is no part of it.
func (g grant) over(now time.Time) bool { return !g.until.IsZero() && !now.Before(g.until) }

// lapse ends a grant.
func (b *Board) lapse(q *question) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g, ok := b.grants[q.key]; !ok || g.id != q.id {
		return
	}
	delete(b.grants, q.key)
	b.record(Event{Step: Expired, Question: b.view(q)})
}

// Revoke takes a grant back: from now on it is asked again.
func (b *Board) Revoke(id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, g := range b.grants {
		if g.id == id {
			if g.timer != nil {
				g.timer.Stop()
			}
			delete(b.grants, key)
			delete(b.recent, key)
			b.record(Event{Step: Expired, Question: b.view(&question{subject: g.origin, id: id, answers: g.by}), Reason: "taken back"})
			return nil
		}
	}
	return ErrNotOpen
}

// view is a question as people may see it.
func (b *Board) view(q *question) Question {
	return Question{ID: q.id, Kind: q.subject.Kind, What: line(q.subject.What), Program: q.subject.Program.String(), Rule: Text(q.subject.Rule),
		Reason: Text(q.subject.Reason), Asked: q.asked, Deadline: q.deadline, Held: len(q.waiting), Before: q.before, Quorum: b.quorum(),
		Answers: slices.Clone(q.answers), Always: q.subject.Allow, Raw: q.subject.Program}
}

// Holds says whether an action waits for people. Nothing waits for more time.
func (b *Board) Holds() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.open, func(q *question) bool { return q.subject.Kind != Extend })
}

// List is what is asked and granted just now.
type List struct {
	Questions []Question `json:"questions"` // the oldest first
	Grants    []Grant    `json:"grants"`    // that hold, by their questions' numbers
	Flooded   int        `json:"flooded"`   // how many were refused unasked
}

// Grant is an answer that holds.
type Grant struct {
	ID    string    `json:"id"` // of the question
	Yes   bool      `json:"yes"`
	What  string    `json:"what"`
	Until time.Time `json:"until,omitzero"` // zero: to the run's end
	By    []Answer  `json:"by"`
}

// List lists the open questions and what holds.
func (b *Board) List() List {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := List{Questions: []Question{}, Grants: []Grant{}, Flooded: b.flooded}
	for _, q := range b.open {
		l.Questions = append(l.Questions, b.view(q))
	}
	now := time.Now()
	held := slices.SortedFunc(maps.Values(b.grants), func(a, b grant) int { return a.number - b.number })
	for _, g := range held {
		if !g.over(now) {
			l.Grants = append(l.Grants, Grant{ID: g.id, Yes: g.yes, What: line(g.origin.What), Until: g.until, By: g.by})
		}
	}
	return l
}

// Close ends every question with a no: the run is over.
func (b *Board) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for len(b.open) > 0 {
		b.end(b.open[0], Withdrawn, Decision{ID: b.open[0].id, Reason: "the run ended before a person had answered"})
	}
	for _, g := range b.grants {
		if g.timer != nil {
			g.timer.Stop()
		}
	}
}
