package run

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/netns"
)

// listen opens the ports of the host that the profile publishes, before anything is
// started: one that is taken refuses the run.
func (s *session) listen() ([]*os.File, error) {
	files, err := netns.ListenPublished(s.spec.Network)
	if err != nil {
		return nil, err
	}
	s.stack.push("close the published ports", func() error {
		for _, f := range files {
			f.Close() // again, where the network has taken them over
		}
		return nil
	})
	return files, nil
}

// serveNetwork takes over the jail's sockets.
func (s *session) serveNetwork(published []*os.File) error {
	cfg := netns.Config{Network: s.spec.Network, Link: s.link, Proxy: s.host.proxy(), Sink: s.sink,
		UpstreamCAs: s.upstreamCAs, Intercept: s.tls.forGateway(), Prices: s.spec.Prices, Published: published,
		Learn: s.opt.learn, Budgets: s.spec.Budgets, Ledger: s.gatewayLedger(), Ask: s.networkAsker(),
		SocketOwner: s.jail.SocketOwner, ProcessOf: s.jail.ProcessOf, DialJail: s.jail.Dial}
	if s.agentSocket != "" {
		cfg.SSHAgent, cfg.AgentSocket, cfg.DialAgent = s.spec.SSHAgent, s.jail.Sockets[0], s.dialAgent
	}
	if s.claim != nil {
		// Nobody's uid, not even the agent's: the last but one of the claimed range.
		cfg.Credential = gatewayUser(s.claim.Base + jail.UIDRange - 2)
	}
	var err error
	if s.network, err = netns.Start(cfg, s.jail.Network); err != nil {
		return err
	}
	// What ended it early is told by finish, and is not the agent's failure.
	s.stack.push("stop the network", func() error { _ = s.network.Close(); return nil })
	return nil
}

// agentSocketPath is the jail's SSH_AUTH_SOCK.
const agentSocketPath = jail.InsideDir + "/ssh-agent.sock"

// agentTimeout is how long a connection to the host's SSH agent may take.
const agentTimeout = 5 * time.Second

// findAgent finds the host's SSH agent, and makes sure that it is one that answers.
func (s *session) findAgent() (string, error) {
	a := s.spec.SSHAgent
	if a == nil {
		return "", nil
	}
	path := a.Socket
	if path == "" {
		path = s.host.getenv("SSH_AUTH_SOCK")
	}
	if path == "" {
		return "", fmt.Errorf("%s: ssh_agent: SSH_AUTH_SOCK is not set\nhint: start an agent (eval $(ssh-agent); ssh-add), or name its socket: socket = \"...\"", a.Origin)
	}
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%s: ssh_agent: SSH_AUTH_SOCK is %q, which is no absolute path", a.Origin, path)
	}
	if s.opt.DryRun {
		return path, nil
	}
	c, err := net.DialTimeout("unix", path, agentTimeout)
	if err != nil {
		return "", fmt.Errorf("%s: ssh_agent: %w\nhint: is the agent running? ssh-add -l shows its keys", a.Origin, err)
	}
	return path, c.Close()
}

// dialAgent connects to the host's SSH agent.
func (s *session) dialAgent() (*os.File, error) {
	c, err := net.DialTimeout("unix", s.agentSocket, agentTimeout)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.New("the ssh agent's socket is no Unix socket")
	}
	return u.File()
}
