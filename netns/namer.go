package netns

import (
	"cmp"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/agentjail/agentjail/audit"
	"golang.org/x/sys/unix"
)

// Programs are looked for in a thirtieth of one processor's time, and as many a second
// as whoRate says: a jail that makes thousands of connections a second has most of them
// unnamed, and is not slowed down by it.
const (
	whoPart  = 1.0 / 30
	whoBurst = 200 * time.Millisecond
	whoRate  = 500
	whoMost  = 1000 // at once
)

// namer finds out which program of the jail is behind a connection: its socket by the
// two addresses, then who holds the socket. What it does not find, since the program
// has closed it or has ended, or since there is no time left, is nobody. It never
// guesses.
type namer struct {
	cfg  *Config
	diag *sockDiag

	mu    sync.Mutex
	share *share
	asked map[byte]bool // protocols that the kernel was asked about
}

func newNamer(cfg *Config) *namer {
	return &namer{cfg: cfg, diag: &sockDiag{}, share: newShare(whoPart, whoBurst, time.Now()), asked: map[byte]bool{}}
}

// owner names the program whose socket has these ends.
func (n *namer) owner(e endpoints) audit.Process {
	if n.cfg.SocketOwner == nil {
		return audit.Process{}
	}
	return n.spend(func() (p audit.Process) {
		inode, err := n.diag.inode(e)
		if err != nil {
			n.explain(e.proto)
			return p
		}
		p, _ = n.cfg.SocketOwner(inode)
		return p
	})
}

// peer names the program with a pid of the host's, if that is in the jail.
func (n *namer) peer(pid int) audit.Process {
	if n.cfg.ProcessOf == nil {
		return audit.Process{}
	}
	return n.spend(func() audit.Process {
		p, _ := n.cfg.ProcessOf(pid)
		return p
	})
}

// spend looks for a program where there is time for it.
func (n *namer) spend(look func() audit.Process) audit.Process {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.share.may(time.Now()) {
		return audit.Process{}
	}
	// Of the processor's time: on a busy machine the rest is others'.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := threadTime()
	defer func() { n.share.spend(threadTime() - began) }()
	return look()
}

// threadTime is how long this thread has run, clock_gettime(2).
func threadTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return 0 // every kernel that can have a jail has this clock
	}
	return time.Duration(t.Nano())
}

// explain says once where it is the kernel that can't; the caller holds the lock.
func (n *namer) explain(proto byte) {
	if n.asked[proto] {
		return
	}
	n.asked[proto] = true
	if !n.diag.works(proto) {
		n.cfg.Sink.Emit(audit.Finding{Title: "programs behind connections are not named", Severity: "low", Outcome: audit.Failed,
			Detail: fmt.Sprintf("the kernel can't look up sockets of IP protocol %d; it wants inet_diag, tcp_diag and udp_diag", proto)})
	}
}

// close ends the looking up; what is asked later is nobody.
func (n *namer) close() { n.diag.close() }

// named puts the program into a record of the gateway's.
func (s *Supervisor) named(m report, rec audit.Record) audit.Record {
	who := func(id uint64) audit.Process { return s.askers.get(cmp.Or(m.Who, id), m.Who != 0) }
	switch r := rec.(type) {
	case audit.Connect:
		r.Process = who(r.ID)
		return r
	case audit.DNS:
		r.Process = who(0)
		return r
	case audit.HTTP:
		r.Process = who(r.ID)
		return r
	case audit.ModelCall:
		r.Process = who(r.ID)
		return r
	case audit.ModelTool:
		r.Process = who(r.ID)
		return r
	case audit.Signature:
		r.Process = who(0)
		return r
	case audit.LimitHit:
		r.Process = who(0)
		return r
	case audit.Finding:
		r.Process = who(0)
		return r
	}
	return rec
}

// refused records a packet that the kernel refused. A UDP socket is there still; a
// TCP connection was refused before this is read, and the kernel forgets its ends with
// it.
func (s *Supervisor) refused(p refusedPacket) {
	if p.Network == "udp" && p.from.Port() != 0 {
		to := netip.AddrPortFrom(p.to, p.Port)
		p.Process = s.namer.owner(endpoints{unix.IPPROTO_UDP, p.from, to})
	}
	s.cfg.Sink.Emit(p.Connect)
}
