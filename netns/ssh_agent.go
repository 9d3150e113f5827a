package netns

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/netns/sshagent"
	"github.com/agentjail/agentjail/profiles"
	"golang.org/x/sys/unix"
)

// The jail's SSH agent is a Unix socket in the jail, served here: the gateway is the
// confined process, and what clients send is parsed in it. For each client the
// supervisor connects to the host's agent and hands the connection over, since the
// gateway may make no Unix socket. What passes is the list of keys, cut down to those
// that the profile names, and requests to sign with one of these; each of the latter
// is in the trail.
const (
	// maxAgentClients bounds the clients at once.
	maxAgentClients = 32

	// agentIdle ends a client that says nothing; ssh keeps its connection for as long
	// as it forwards.
	agentIdle = time.Hour

	// signTimeout is how long the host's agent may take over an answer: a person may
	// have to say yes, or touch a key.
	signTimeout = 2 * time.Minute
)

// agentServer serves the jail's agent socket.
type agentServer struct {
	g     *gateway
	rule  *profiles.SSHAgent
	slots chan struct{}
}

// serveAgent starts to serve the listener, which follows the other descriptors.
func (g *gateway) serveAgent(rule *profiles.SSHAgent, fd int) error {
	if rule == nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), "ssh agent")
	l, err := net.FileListener(f)
	f.Close()
	if err != nil {
		return fmt.Errorf("listener of the ssh agent: %w", err)
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		return errors.New("listener of the ssh agent: it is no Unix socket")
	}
	u.SetUnlinkOnClose(false) // the path is the jail's, and goes with it
	s := &agentServer{g: g, rule: rule, slots: make(chan struct{}, maxAgentClients)}
	go s.accept(u)
	return nil
}

func (s *agentServer) accept(l *net.UnixListener) {
	for {
		c, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		select {
		case s.slots <- struct{}{}:
		default:
			c.Close()
			continue
		}
		if !s.g.track(c) {
			<-s.slots
			c.Close()
			continue
		}
		go func() {
			defer func() {
				s.g.done(c)
				<-s.slots
			}()
			client := &agentClient{agentServer: s, c: c}
			client.serve()
		}()
	}
}

// agentClient is one client in the jail.
type agentClient struct {
	*agentServer
	c       *net.UnixConn
	up      net.Conn
	who     uint64
	hostKey []byte // of the session that the client bound itself to
}

func (a *agentClient) serve() {
	id := a.g.ids.Add(1)
	if pid, err := peerPID(a.c); err == nil {
		a.who = a.g.errands.peer(id, pid)
	}
	up, err := a.g.errands.fetch(errand{kind: errandAgent})
	if err != nil {
		a.report(sshagent.Key{}, "", audit.Failed, "the host's ssh agent can't be reached")
		return
	}
	defer up.Close()
	a.up = up
	for {
		if a.c.SetDeadline(time.Now().Add(agentIdle)) != nil {
			return
		}
		b, err := sshagent.Read(a.c)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !isTimeout(err) {
				a.report(sshagent.Key{}, "", audit.Blocked, "malformed: "+err.Error())
			}
			return
		}
		answer, err := a.answer(b)
		if err != nil {
			a.report(sshagent.Key{}, "", audit.Failed, clip(err.Error()))
			return
		}
		if sshagent.Write(a.c, answer) != nil {
			return
		}
	}
}

// answer answers one request. An error is one of the host's agent.
func (a *agentClient) answer(b []byte) ([]byte, error) {
	r, err := sshagent.Parse(b)
	if err != nil {
		a.report(sshagent.Key{}, "", audit.Blocked, "malformed: "+err.Error())
		return sshagent.Failure(), nil
	}
	switch r.Kind {
	case sshagent.List:
		keys, err := a.keys()
		return sshagent.ListOf(keys), err
	case sshagent.Bind:
		answer, err := a.ask(b)
		a.hostKey = r.HostKey
		return answer, err
	case sshagent.Sign:
		return a.sign(b, r)
	}
	what := fmt.Sprintf("request %d", r.Type)
	if r.Name != "" {
		what = fmt.Sprintf("extension %q", clip(r.Name))
	}
	a.report(sshagent.Key{}, "", audit.Blocked, what+" is not passed on: only listing keys and signing are")
	return sshagent.Failure(), nil
}

// keys lists those of the host's keys that the profile names.
func (a *agentClient) keys() ([]sshagent.Key, error) {
	answer, err := a.ask(sshagent.AskForKeys())
	if err != nil {
		return nil, err
	}
	keys, err := sshagent.Keys(answer)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(keys, func(k sshagent.Key) bool {
		_, ok := a.rule.Allows(sshagent.Fingerprint(k.Blob), k.Comment)
		return !ok
	}), nil
}

// sign has the host's agent sign with a key that the profile names, as the agent has it
// at this moment.
func (a *agentClient) sign(b []byte, r sshagent.Request) ([]byte, error) {
	purpose := sshagent.Purpose(r.Data, a.hostKey)
	keys, err := a.keys()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(keys, func(k sshagent.Key) bool { return string(k.Blob) == string(r.Key) })
	if i < 0 {
		a.report(sshagent.Key{Blob: r.Key}, purpose, audit.Blocked, "the profile does not name this key")
		return sshagent.Failure(), nil
	}
	key := keys[i]
	if l := a.rule.Limit; l != nil {
		if v := a.g.quotas.take([]claim{{l, "ssh_agent"}}); v.quota != nil {
			if v.first {
				a.g.limitHit(l.Rate.String(), l.Rate.Count, "signatures", l.Origin, "the ssh agent")
			}
			a.report(key, purpose, audit.Blocked, fmt.Sprintf("the limit of %s signatures is used up", l.Rate))
			return sshagent.Failure(), nil
		}
	}
	answer, err := a.ask(b)
	if err != nil {
		return nil, err
	}
	if !sshagent.Signed(answer) {
		a.report(key, purpose, audit.Failed, "the host's ssh agent refused")
		return sshagent.Failure(), nil
	}
	a.report(key, purpose, audit.Allowed, a.rule.Reason)
	return answer, nil
}

// ask exchanges a message with the host's agent.
func (a *agentClient) ask(b []byte) ([]byte, error) {
	if err := a.up.SetDeadline(time.Now().Add(signTimeout)); err != nil {
		return nil, err
	}
	if err := sshagent.Write(a.up, b); err != nil {
		return nil, fmt.Errorf("the host's ssh agent: %w", err)
	}
	answer, err := sshagent.Read(a.up)
	if err != nil {
		return nil, fmt.Errorf("the host's ssh agent: %w", err)
	}
	return answer, nil
}

func (a *agentClient) report(k sshagent.Key, purpose string, o audit.Outcome, reason string) {
	s := &audit.Signature{Comment: clip(k.Comment), Purpose: purpose, Outcome: o, Reason: reason, Rule: a.rule.Origin.String()}
	if k.Blob != nil {
		s.Key = sshagent.Fingerprint(k.Blob)
		if p, ok := a.rule.Allows(s.Key, k.Comment); ok {
			s.Rule = p.Origin.String()
		}
	}
	a.g.reports(report{Signature: s, Who: a.who})
}

// peerPID is the pid of the process that connected, as this pid namespace has it:
// unix(7), SO_PEERCRED.
func peerPID(c *net.UnixConn) (int32, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var cerr error
	if err := rc.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if cerr != nil {
		return 0, cerr
	}
	return cred.Pid, nil
}
