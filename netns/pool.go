package netns

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"

	"github.com/agentjail/agentjail/profiles"
)

// The bounds of the pool. A name under a wildcard is made up by the agent, and
// each one that it connects to is asked for upstream: a bound keeps both the
// memory and that channel small.
const (
	maxNames         = 4096
	maxWildcardNames = 1024
)

var errPoolFull = errors.New("too many different names were asked for in this run")

// pool gives each allowed name an address of its own for the rest of the run.
type pool struct {
	mu     sync.Mutex
	index  map[string]uint32
	names  []string       // by index; the first one is never used
	byRule map[string]int // names that came in through a wildcard
}

func newPool() *pool {
	return &pool{index: map[string]uint32{}, names: []string{""}, byRule: map[string]int{}}
}

// assign returns the addresses of a canonical name that a rule allows.
func (p *pool) assign(name string, rule *profiles.NetRule) (v4, v6 netip.Addr, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.index[name]
	if !ok {
		if !isExact(name, rule) {
			key := rule.Origin.String() + " " + rule.Label
			if len(p.names) > maxNames || p.byRule[key] >= maxWildcardNames {
				return netip.Addr{}, netip.Addr{}, errPoolFull
			}
			p.byRule[key]++
		}
		i = uint32(len(p.names))
		p.index[name] = i
		p.names = append(p.names, name)
	}
	return poolAddr4(i), poolAddr6(i), nil
}

// isExact says whether the profile wrote the name out; those are as many as the
// profile has, and always get an address.
func isExact(name string, rule *profiles.NetRule) bool {
	for _, h := range rule.Hosts {
		if h.Kind == profiles.HostExact && h.Name == name {
			return true
		}
	}
	return false
}

// name returns the name behind a pool address. inPool is true for every address
// of the pool's ranges, also one that stands for no name.
func (p *pool) name(a netip.Addr) (name string, inPool bool) {
	var i uint64
	switch a = a.Unmap(); {
	case pool4.Contains(a):
		b, base := a.As4(), pool4.Addr().As4()
		i = uint64(binary.BigEndian.Uint32(b[:]) - binary.BigEndian.Uint32(base[:]))
	case pool6.Contains(a):
		b := a.As16()
		i = binary.BigEndian.Uint64(b[8:])
	default:
		return "", false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i == 0 || i >= uint64(len(p.names)) {
		return "", true
	}
	return p.names[i], true
}

func poolAddr4(i uint32) netip.Addr {
	b := pool4.Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+i)
	return netip.AddrFrom4(b)
}

func poolAddr6(i uint32) netip.Addr {
	b := pool6.Addr().As16()
	binary.BigEndian.PutUint64(b[8:], uint64(i))
	return netip.AddrFrom16(b)
}
