package run

import (
	"cmp"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/netns"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/run/learn"
)

// maxRefusals bounds what is kept of a learning run's records: hosts, requests and
// the rest, each.
const maxRefusals = 2000

// refusals passes a learning run's records on and keeps those of what was refused.
type refusals struct {
	next audit.Sink

	mu       sync.Mutex
	names    map[string]string // by the address that stands for them
	hosts    []learn.Host
	requests []learn.Request
	others   []learn.Other
	index    map[string]int
	left     int64
}

// Emit implements audit.Sink.
func (k *refusals) Emit(r audit.Record) {
	k.mu.Lock()
	k.keep(r)
	k.mu.Unlock()
	k.next.Emit(r)
}

func (k *refusals) keep(r audit.Record) {
	by := func(p audit.Process) []string {
		if p.Name == "" {
			return nil
		}
		return []string{p.Name}
	}
	switch r := r.(type) {
	case audit.DNS:
		if r.Outcome != audit.Blocked || r.Type == "PTR" || r.Name == "" {
			return
		}
		if k.names == nil {
			k.names = map[string]string{}
		}
		for _, a := range r.Answers {
			k.names[a] = strings.TrimSuffix(r.Name, ".")
		}
		h := learn.Host{Name: strings.TrimSuffix(r.Name, "."), Network: "tcp", Rule: r.Rule, Reason: r.Reason, Count: 1, By: by(r.Process)}
		k.host(h)
	case audit.Connect:
		if r.Outcome != audit.Blocked || r.Direction == audit.Inbound {
			return
		}
		h := learn.Host{Name: strings.TrimSuffix(r.Name, "."), Addr: r.Addr, Port: r.Port, Network: r.Network, Rule: r.Rule, Reason: r.Reason, Count: 1, By: by(r.Process)}
		if h.Name != "" {
			h.Addr = ""
		}
		k.host(h)
	case audit.HTTP:
		if r.Outcome == audit.Blocked {
			k.request(learn.Request{Scheme: r.Scheme, Host: r.Host, Port: r.Port, Method: r.Method, Path: r.Path, Rule: r.Rule, Reason: r.Reason, Count: 1, By: by(r.Process)})
		}
	case audit.Exec:
		if r.Outcome == audit.Blocked {
			k.other(learn.Other{What: "exec " + r.Process.Path, Rule: r.Rule, Reason: r.Reason, Count: 1})
		}
	case audit.Signature:
		if r.Outcome == audit.Blocked {
			k.other(learn.Other{What: "a signature of the SSH agent's", Rule: r.Rule, Reason: r.Reason, Count: 1})
		}
	case audit.LimitHit:
		k.other(learn.Other{What: "limit " + r.Limit, Rule: r.Rule, Reason: r.Detail, Count: 1})
	}
}

// nameOf puts the name for the address that stands for it. It comes last: the record of
// a refused packet may come before that of the name's question.
func (k *refusals) nameOf(h *learn.Host) {
	a, err := netip.ParseAddr(h.Addr)
	if err != nil {
		return
	}
	if name := k.names[a.Unmap().String()]; name != "" {
		h.Name, h.Addr = name, ""
		return
	}
	h.Special = netns.SpecialRange(a)
}

// slot finds what is alike, or room for it.
func (k *refusals) slot(key string, n int) (i int, found bool) {
	if k.index == nil {
		k.index = map[string]int{}
	}
	if i, found = k.index[key]; found {
		return i, true
	}
	if n >= maxRefusals {
		k.left++
		return -1, false
	}
	k.index[key] = n
	return n, false
}

func (k *refusals) host(h learn.Host) {
	i, found := k.slot(strings.Join([]string{"host", h.Name, h.Addr, h.Network, fmt.Sprint(h.Port), h.Rule}, "\x00"), len(k.hosts))
	switch {
	case found:
		k.hosts[i].Count++
		k.hosts[i].By = union(k.hosts[i].By, h.By)
	case i >= 0:
		k.hosts = append(k.hosts, h)
	}
}

func (k *refusals) request(r learn.Request) {
	i, found := k.slot(strings.Join([]string{"request", r.Scheme, r.Host, fmt.Sprint(r.Port), r.Method, r.Path, r.Rule}, "\x00"), len(k.requests))
	switch {
	case found:
		k.requests[i].Count++
		k.requests[i].By = union(k.requests[i].By, r.By)
	case i >= 0:
		k.requests = append(k.requests, r)
	}
}

func (k *refusals) other(o learn.Other) {
	i, found := k.slot(strings.Join([]string{"other", o.What, o.Rule, o.Reason}, "\x00"), len(k.others))
	switch {
	case found:
		k.others[i].Count++
	case i >= 0:
		k.others = append(k.others, o)
	}
}

func union(a, b []string) []string {
	for _, s := range b {
		if len(a) < 3 && !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

// seen is what a learning run was refused, as far as the host has it.
func (s *session) seen() learn.Seen {
	var seen learn.Seen
	if k := s.refusals; k != nil {
		k.mu.Lock()
		seen.Hosts, seen.Requests, seen.Others, seen.LeftOut = slices.Clone(k.hosts), k.requests, k.others, k.left
		for i := range seen.Hosts {
			k.nameOf(&seen.Hosts[i])
		}
		k.mu.Unlock()
	}
	if s.observed == nil {
		return seen
	}
	seen.LeftOut += s.observed.LeftOut
	for _, sight := range s.observed.Files {
		if f, ok := s.onHost(sight); ok {
			seen.Files = append(seen.Files, f)
		}
	}
	for _, c := range s.observed.Calls {
		seen.Calls = append(seen.Calls, learn.Call{Name: c.Name, Detail: c.Detail, Safe: jail.OwnProcessesOnly(c.Name), Count: c.Count, By: c.By})
	}
	return seen
}

// onHost looks a path up on the host, with the caller's own authority. What is not
// there was missed for that reason, and not for the jail's.
func (s *session) onHost(sight jail.Sight) (learn.File, bool) {
	f := learn.File{Use: uses()[sight.Use], Rule: sight.Rule, Count: sight.Count, By: sight.By}
	p := sight.Path
	clean := path.Clean(p)
	work := s.plan.Workspace.Path
	switch {
	case clean == work || strings.HasPrefix(clean, work+"/"):
		return s.inWorkspace(f, clean)
	case clean == jail.AgentHome:
		return f, false
	case strings.HasPrefix(clean, jail.AgentHome+"/"):
		// What the agent makes in its home folder is its own.
		if f.Use == learn.Write || f.Use == learn.Create || s.host.Home == "" {
			return f, false
		}
		f.Home = strings.TrimPrefix(clean, jail.AgentHome+"/")
		p = filepath.Join(s.host.Home, f.Home)
		clean = p
	}
	place, err := jail.Lookup(p)
	if err != nil {
		if f.Use != learn.Create {
			return f, false
		}
		// Not there, to be made: then the folder is.
		dir, derr := jail.Lookup(path.Dir(clean))
		if derr != nil || !dir.Dir {
			return f, false
		}
		f.Path, f.Real = clean, filepath.Join(dir.Real, path.Base(clean))
		return f, true
	}
	f.Path, f.Real = place.Real, place.Real
	if again, err := jail.Lookup(clean); err == nil && again.Real == place.Real {
		f.Path = clean // as it was asked for: the jail gets the links on the way too
	}
	f.Kind = learn.KindOther
	var st unix.Stat_t
	switch {
	case place.Dir:
		f.Kind = learn.KindFolder
	case place.Socket:
		f.Kind = learn.KindSocket
	case unix.Lstat(place.Real, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG:
		f.Kind = learn.KindFile
	}
	return f, true
}

// inWorkspace tells what is refused of the workspace: what is hidden, and changes to
// one that can't be changed. What the agent removed there is its own affair.
func (s *session) inWorkspace(f learn.File, clean string) (learn.File, bool) {
	f.Path, f.Real = clean, clean
	writes := f.Use == learn.Write || f.Use == learn.Create
	if w := s.spec.Workspace; writes && w.Mode == profiles.ModeReadonly {
		f.Rule = cmp.Or(w.Origin.String(), "workspace") + ", mode readonly"
		return f, true
	}
	rel := strings.TrimPrefix(clean, s.plan.Workspace.Path+"/")
	if p, hidden := s.spec.Workspace.Hides(rel); hidden {
		if _, err := jail.Lookup(clean); err == nil {
			f.Rule = cmp.Or(p.Origin.String(), "the profile")
			return f, true
		}
	}
	return f, false
}

func uses() map[jail.Use]learn.Use {
	return map[jail.Use]learn.Use{jail.UseLook: learn.Look, jail.UseRead: learn.Read, jail.UseList: learn.List, jail.UseWrite: learn.Write,
		jail.UseCreate: learn.Create, jail.UseExec: learn.Exec, jail.UseSocket: learn.Connect}
}

// maxLookedThrough is how many entries of a folder are looked at for credentials.
const maxLookedThrough = 200_000

// secretsIn finds what looks like a credential below a folder, by name alone.
func secretsIn(folder string) (found []string, complete bool) {
	left := maxLookedThrough
	complete = true
	err := filepath.WalkDir(folder, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			if e != nil && e.IsDir() {
				complete = false
				return filepath.SkipDir
			}
			return err
		}
		if left--; left < 0 {
			complete = false
			return filepath.SkipAll
		}
		rel, err := filepath.Rel(folder, p)
		if err != nil || rel == "." {
			return err
		}
		if learn.IsSecret(rel) {
			found = append(found, p)
			if e.IsDir() {
				return filepath.SkipDir
			}
		}
		return nil
	})
	return found, complete && err == nil
}
