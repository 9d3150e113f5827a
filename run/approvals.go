package run

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/netns"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/run/approval"
	"github.com/agentjail/agentjail/run/control"
)

// The methods of the control socket that are about approvals.
const (
	methodApprovals = "approvals" // no parameters; an approval.List
	methodAnswer    = "answer"    // answerParams; an approval.Result
	methodRevoke    = "revoke"    // revokeParams; nothing
)

type answerParams struct {
	ID   string        `json:"id"`
	Yes  bool          `json:"yes"`
	Once bool          `json:"once,omitempty"`
	For  time.Duration `json:"for,omitempty"`
	Name string        `json:"name,omitempty"` // of the approver
}

type revokeParams struct {
	ID string `json:"id"`
}

// openApprovals makes the board of questions. It is there in every run: what nobody asks
// costs nothing.
func (s *session) openApprovals() {
	a := s.spec.Approval
	s.approvals = approval.New(approval.Config{Timeout: time.Duration(a.Timeout), Quorum: int(a.Quorum), Prefix: questionPrefix(s.id),
		Record: func(e approval.Event) { s.sink.Emit(approvalRecord(e)) }, Changed: s.asksPeople})
	s.stack.push("close the questions to people", func() error { s.approvals.Close(); return nil })
}

// questionPrefix tells the questions of runs apart: it is the random end of the run's id.
func questionPrefix(id string) string {
	_, end, _ := strings.Cut(id, "-")
	if i := strings.LastIndexByte(end, '-'); i >= 0 {
		end = end[i+1:]
	}
	return end + "-"
}

// asksPeople tells whoever sits at this terminal that a question was asked. On a terminal
// that is the agent's nothing is written: it would stand in the agent's picture, or look
// as if the agent had written it.
func (s *session) asksPeople(q approval.Question) {
	s.channels.tell(q)
	if s.opt.Quiet || s.terminal {
		return
	}
	fmt.Fprintf(s.host.Stderr, "agentjail: question %s: %s\nagentjail: answer it in another terminal: agentjail approve, or agentjail approve --yes %s\n", q.ID, q.What, q.ID)
}

// saysWhoIsAsked says it before the agent has the terminal.
func (s *session) saysWhoIsAsked() {
	if s.terminal && !s.opt.Quiet && s.spec.Asks() {
		fmt.Fprintln(s.host.Stderr, "agentjail: this profile asks people: keep agentjail approve open in another terminal")
	}
}

// approvalMethods puts the methods of approvals into the control socket's table.
func (s *session) approvalMethods(srv *control.Server) {
	srv.Handle(methodApprovals, func(context.Context, control.Peer, json.RawMessage) (any, error) {
		return s.approvals.List(), nil
	})
	srv.Handle(methodAnswer, func(_ context.Context, who control.Peer, params json.RawMessage) (any, error) {
		var p answerParams
		if err := control.Params(params, &p); err != nil {
			return nil, err
		}
		res, err := s.approvals.Answer(p.ID, approval.Answer{Yes: p.Yes, Once: p.Once, For: p.For, By: approval.Approver{UID: who.UID, Name: p.Name, Channel: "control"}})
		if errors.Is(err, approval.ErrNotOpen) {
			return nil, fmt.Errorf("no question %s is open\nhint: it was answered, or nobody answered in time; agentjail approve --list lists what is open", approval.Text(p.ID))
		}
		return res, err
	})
	srv.Handle(methodRevoke, func(_ context.Context, _ control.Peer, params json.RawMessage) (any, error) {
		var p revokeParams
		if err := control.Params(params, &p); err != nil {
			return nil, err
		}
		if err := s.approvals.Revoke(p.ID); err != nil {
			return nil, fmt.Errorf("no answer to question %s holds\nhint: agentjail approve --list lists those that do", approval.Text(p.ID))
		}
		return struct{}{}, nil
	})
}

// networkAsker and programAsker ask people; nil in a learning run, which asks nothing
// and has refused what it would have to ask.
func (s *session) networkAsker() netns.Asker {
	if s.opt.learn {
		return nil
	}
	return s.askNetwork
}

func (s *session) programAsker() jail.ProgramAsker {
	if s.opt.learn {
		return nil
	}
	return s.askProgram
}

// askNetwork asks people for the gateway.
func (s *session) askNetwork(ctx context.Context, p netns.Permit) (bool, string) {
	d := s.approvals.Ask(ctx, networkSubject(p))
	return d.Yes, d.Reason
}

// askProgram asks people for an exec.
func (s *session) askProgram(ctx context.Context, q jail.ProgramQuestion) (bool, string) {
	d := s.approvals.Ask(ctx, programSubject(q))
	return d.Yes, d.Reason
}

// networkSubject puts what the gateway wants to know into a person's words.
func networkSubject(p netns.Permit) approval.Subject {
	at := net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port)))
	url := approval.Text(p.Method) + " " + approval.Text(at) + approval.Text(p.Path)
	sub := approval.Subject{Kind: approval.Kind(p.Kind), Rule: p.Rule.String(), Reason: p.Reason, Program: program(p.Process)}
	switch p.Kind {
	case netns.PermitConnect:
		sub.What = fmt.Sprintf("connect to %s (%s)", approval.Text(at), p.Protocol)
		sub.Key = at + " " + string(p.Protocol)
		sub.Allow = &approval.Always{Host: p.Host, Port: p.Port, Proto: string(p.Protocol)}
	case netns.PermitSpend:
		b := profiles.Budget{Name: p.Budget, Unit: p.Unit}
		sub.What = fmt.Sprintf("spend %s of the budget %q: %s", b.AmountText(p.Amount), b.Name, url)
		sub.Key = strings.Join([]string{p.Budget, p.Method, at, p.Path}, "\x00")
		sub.Amount = int64(p.Amount)
	default:
		sub.What = url
		sub.Key = strings.Join([]string{p.Method, at, p.Path}, "\x00")
	}
	return sub
}

// programSubject puts an exec into a person's words.
func programSubject(q jail.ProgramQuestion) approval.Subject {
	sub := approval.Subject{Kind: approval.Exec, Key: q.Key, Rule: q.Rule, Reason: q.Reason, Program: program(q.Process)}
	sub.What = fmt.Sprintf("start %s: %s", approval.Text(q.Path), approval.Words(q.Argv))
	if !q.New && !q.Script && len(q.Argv) > 0 {
		sub.Allow = &approval.Always{Program: q.Path, Args: q.Argv[1:]}
	}
	return sub
}

func program(p audit.Process) approval.Program {
	return approval.Program{PID: p.PID, Path: cmp.Or(p.Path, p.Name), Argv: p.Argv}
}

// approvalRecord is a step as the trail has it.
func approvalRecord(e approval.Event) audit.Approval {
	q := e.Question
	r := audit.Approval{Step: string(e.Step), ID: q.ID, Kind: string(q.Kind), What: q.What, Held: q.Held, Rule: q.Rule, Reason: cmp.Or(e.Reason, q.Reason),
		Until: e.Until, Process: audit.Process{PID: q.Raw.PID, Path: q.Raw.Path, Argv: q.Raw.Argv}}
	if a := e.Answer; a != nil {
		r.Yes, r.By, r.Channel, r.Once, r.For = a.Yes, a.By.Name, a.By.Channel, a.Once, a.For
		if a.By.Channel == "control" {
			r.UID = new(a.By.UID)
		}
	}
	return r
}
