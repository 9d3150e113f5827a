package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
)

// Some of what the gateway needs to know is the supervisor's alone: what is left of a
// budget that other runs spend from, and what a person says. It asks by the control
// socket, with questions among its reports, and waits for the answers:
//
//	gateway ──▶ supervisor   question, with an id that no other open one has
//	gateway ◀── supervisor   answer, with the same id, in any order
//
// Each question is answered once, also by "no". When the supervisor is gone every
// open question is answered by an error, and whoever asked must take that for a no.

// maxQuestions bounds the questions that are open at once; more wait for a place.
const maxQuestions = 256

// maxPermits bounds what waits for people, which may take minutes. It has places of its
// own, and what finds none is refused: nobody's budget waits behind it.
const maxPermits = 128

// errManyPermits is a no.
var errManyPermits = errors.New("too many connections and requests wait for people already")

// question is what the gateway asks. Exactly one of the fields behind ID is set; a new
// kind of question is a field here, one in answer, and a case in Supervisor.answer.
type question struct {
	ID      uint64           `json:"id"`
	Reserve *reserveQuestion `json:"reserve,omitempty"`
	Settle  *settleQuestion  `json:"settle,omitempty"`
	Permit  *purpose         `json:"permit,omitempty"`
}

type reserveQuestion struct {
	Charges []Charge `json:"charges"`
	For     purpose  `json:"for"` // for people, where one has to decide
}

// purpose is a connection, or with a Method a request: what a person is asked about.
type purpose struct {
	Who    uint64     `json:"who,omitempty"` // the connection's number; see report.Who
	Name   string     `json:"name,omitempty"`
	Addr   netip.Addr `json:"addr,omitzero"`
	Port   uint16     `json:"port,omitempty"`
	Method string     `json:"method,omitempty"`
	Path   string     `json:"path,omitempty"` // canonical
}

type settleQuestion struct {
	Reservation uint64   `json:"reservation"`
	Charges     []Charge `json:"charges"`
}

// answer answers the question with the same id.
type answer struct {
	ID          uint64         `json:"id"`
	Reservation uint64         `json:"reservation,omitempty"`
	Budgets     []BudgetState  `json:"budgets,omitempty"`
	Refused     *BudgetRefusal `json:"refused,omitempty"`
	Permit      *permission    `json:"permit,omitempty"`
	Error       string         `json:"error,omitempty"`
}

// questions is the gateway's side.
type questions struct {
	send  func(report)
	slots chan struct{}
	asked chan struct{} // the places of those that people answer
	gone  chan struct{} // closed when no answer will come any more
	once  sync.Once

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]waiting
}

// waiting is an open question: where its answer goes, and what its place is one of.
type waiting struct {
	got   chan answer
	slots chan struct{}
}

func newQuestions(send func(report)) *questions {
	return &questions{send: send, slots: make(chan struct{}, maxQuestions), asked: make(chan struct{}, maxPermits), gone: make(chan struct{}), waiting: map[uint64]waiting{}}
}

var errNoSupervisor = errors.New("the supervisor does not answer any more")

// ask asks a question and waits for its answer. An error is no answer.
func (q *questions) ask(ctx context.Context, what question) (answer, error) {
	slots := q.slots
	if what.Permit != nil {
		slots = q.asked
		select {
		case slots <- struct{}{}:
		default:
			return answer{}, errManyPermits
		}
	} else {
		select {
		case slots <- struct{}{}:
		case <-q.gone:
			return answer{}, errNoSupervisor
		case <-ctx.Done():
			return answer{}, ctx.Err()
		}
	}
	got := make(chan answer, 1)
	q.post(what, waiting{got, slots})
	select {
	case a := <-got:
		if a.Error != "" {
			return answer{}, errors.New(a.Error)
		}
		return a, nil
	case <-q.gone:
		return answer{}, errNoSupervisor
	case <-ctx.Done():
		// The question stays open, and its place taken, until it is answered: the
		// supervisor works on it all the same.
		return answer{}, ctx.Err()
	}
}

// post sends a question. Where nobody waits for its answer w is zero.
func (q *questions) post(what question, w waiting) {
	q.mu.Lock()
	q.last++
	what.ID = q.last
	if w.got != nil {
		q.waiting[what.ID] = w
	}
	q.mu.Unlock()
	q.send(report{Question: &what})
}

// over says whether the supervisor answers no more.
func (q *questions) over() bool {
	select {
	case <-q.gone:
		return true
	default:
		return false
	}
}

// serve passes answers on until the supervisor closes its end, which is also the order
// to stop, or says what can't be understood.
func (q *questions) serve(r io.Reader) error {
	defer q.end()
	for {
		var a answer
		if err := readFrame(r, &a, maxReport); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return nil
			}
			return fmt.Errorf("read the supervisor's answer: %w", err)
		}
		q.mu.Lock()
		w := q.waiting[a.ID]
		delete(q.waiting, a.ID)
		q.mu.Unlock()
		if w.got == nil {
			return fmt.Errorf("the supervisor answered question %d, which is not open", a.ID)
		}
		w.got <- a // has room for the one answer
		<-w.slots
	}
}

func (q *questions) end() { q.once.Do(func() { close(q.gone) }) }
