package netns

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
)

// Permit is what a person is asked about. Which rule asks, and why, is what the
// supervisor found out by itself; of the gateway's word it has the host's name, and of a
// request method and path.
type Permit struct {
	Kind     PermitKind
	Host     string // canonical name, or address
	Port     uint16
	Protocol profiles.Protocol // of a connection
	Method   string            // of a request and a spend
	Path     string
	Budget   string          // of a spend
	Unit     string          //
	Amount   profiles.Amount //
	Rule     profiles.Origin
	Reason   string
	Process  audit.Process
}

// PermitKind is what sort of thing a person is asked about.
type PermitKind string

// The kinds.
const (
	PermitConnect PermitKind = "connect"
	PermitRequest PermitKind = "request"
	PermitSpend   PermitKind = "spend"
)

// Asker asks people, and waits for them. Without a yes the reason says why, in a sentence
// for the agent. Where ctx ends nobody waits any more.
type Asker func(ctx context.Context, p Permit) (yes bool, reason string)

// permission answers a question about a connection or a request.
type permission struct {
	Yes    bool   `json:"yes,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// asks is the supervisor's side: it believes a gateway no more than that the agent wants
// something that the profile says is for a person to decide.
type asks struct {
	network *profiles.Network
	ask     Asker
	who     func(id uint64) audit.Process
	ctx     context.Context
	cancel  context.CancelFunc
}

// decide finds the rule that asks about something.
func (a *asks) decide(p purpose) (Permit, bool) {
	if a.network == nil {
		return Permit{}, false
	}
	out := Permit{Kind: PermitConnect, Host: target{name: p.Name, addr: p.Addr}.host(), Port: p.Port}
	v := a.network.Connect(p.Name, p.Addr, p.Port)
	if p.Method == "" {
		if v.Action != profiles.Ask || v.Rule == nil {
			return Permit{}, false
		}
		out.Protocol, out.Rule, out.Reason = v.Rule.Protocol, v.Rule.Origin, v.Rule.Reason
		return out, true
	}
	out.Kind, out.Method, out.Path = PermitRequest, p.Method, p.Path
	for _, layer := range a.network.Granted(p.Name, p.Addr, p.Port).Access(p.Name, p.Addr, p.Port).Layers() {
		matches, _ := layer.Request(p.Method, p.Path)
		i := slices.IndexFunc(matches, func(m profiles.RequestMatch) bool { return m.Request != nil && m.Request.Ask })
		if i >= 0 {
			out.Rule, out.Reason = matches[i].Origin(), matches[i].Request.Reason
			return out, true
		}
	}
	return Permit{}, false
}

// check refuses what an honest gateway does not ask.
func (a *asks) check(p purpose) error {
	if _, ok := a.decide(p); !ok {
		return fmt.Errorf("no rule asks people about %s %s%s", clip(p.Method), clip(target{name: p.Name, addr: p.Addr}.host()), clip(p.Path))
	}
	return nil
}

func (a *asks) permit(p purpose) *permission {
	out, ok := a.decide(p)
	if !ok {
		return &permission{Reason: "no rule asks about it"}
	}
	return a.put(p, out)
}

// spend asks about an amount that is above a budget's ask_above.
func (a *asks) spend(p purpose, b profiles.Budget, amount profiles.Amount) *permission {
	return a.put(p, Permit{Kind: PermitSpend, Host: target{name: p.Name, addr: p.Addr}.host(), Port: p.Port, Method: p.Method, Path: p.Path,
		Budget: b.Name, Unit: b.Unit, Amount: amount, Rule: b.Origin})
}

func (a *asks) put(p purpose, out Permit) *permission {
	if a.ask == nil {
		return &permission{Reason: "a person would have to allow it, and nobody can be asked"}
	}
	if a.who != nil {
		out.Process = a.who(p.Who)
	}
	yes, reason := a.ask(a.ctx, out)
	return &permission{yes, reason}
}

// permit is the gateway's side: it holds a connection until a person has decided.
func (g *gateway) permit(c *conn) bool {
	if mutate.Off(mutate.Asking) {
		return g.granted(c)
	}
	c.seat.serve() // it waits for a person, and not for the agent
	a, err := g.budgets.questions.ask(context.Background(), question{Permit: &purpose{Who: c.who, Name: c.name, Addr: c.addrAsked(), Port: c.port}})
	switch {
	case err != nil:
		c.verdict.Reason = err.Error()
	case a.Permit == nil || !a.Permit.Yes:
		if a.Permit != nil {
			c.verdict.Reason = a.Permit.Reason
		}
	default:
		return g.granted(c)
	}
	return false
}

// granted judges a connection that a person has allowed.
func (g *gateway) granted(c *conn) bool {
	c.network = g.network.Granted(c.name, c.addrAsked(), c.port)
	c.verdict = c.network.Connect(c.name, c.addrAsked(), c.port)
	return c.verdict.Action == profiles.Allow && c.verdict.Rule != nil
}

// addrAsked is the address of a connection by address; behind a name's is none.
func (c *conn) addrAsked() (a netip.Addr) {
	if c.name == "" {
		return c.addr
	}
	return a
}

// policy is the network by which a connection is judged.
func (g *gateway) policy(c *conn) *profiles.Network {
	if c.network != nil {
		return c.network
	}
	return &g.network
}

// purpose is what people are told of a request.
func (a *ask) purpose() purpose {
	c := a.x.c
	return purpose{Who: c.who, Name: c.name, Addr: c.addrAsked(), Port: c.port, Method: a.rec.Method, Path: a.rec.Path}
}

// permitted holds a request until a person has decided, where its rule says so.
func (a *ask) permitted(ctx context.Context) (reason string, ok bool) {
	asks := func(m profiles.RequestMatch) bool { return m.Request != nil && m.Request.Ask }
	if !asks(a.match) && !asks(a.under) || mutate.Off(mutate.Asking) {
		return "", true
	}
	p := a.purpose()
	p.Path = a.path
	got, err := a.x.g.budgets.questions.ask(ctx, question{Permit: &p})
	switch {
	case err != nil:
		return err.Error(), false
	case got.Permit == nil:
		return "nobody has decided", false
	}
	return got.Permit.Reason, got.Permit.Yes
}
