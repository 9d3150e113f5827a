package jail

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// ProgramPlan is what the supervisor needs to answer execs.
type ProgramPlan struct {
	Rules  profiles.Process `json:"rules"`
	Masked []MaskedProgram  `json:"masked,omitempty"`
}

// MaskedProgram is a denied program that the view hides, by its file on the host: it may
// have other names (hard links) that no mask covers.
type MaskedProgram struct {
	Program string `json:"program"` // as the rule names it
	Dev     uint64 `json:"dev"`
	Ino     uint64 `json:"ino"`
}

// lookForPrograms finds on the host what the profile denies.
func (f *Facts) lookForPrograms(p profiles.Process, seen sights) error {
	if len(p.Deny) == 0 {
		return nil
	}
	f.Programs = map[string][]Place{}
	names := slices.Clone(multicall)
	for _, r := range p.Deny {
		names = append(names, r.Program)
	}
	for _, name := range names {
		if _, done := f.Programs[name]; done {
			continue
		}
		f.Programs[name] = nil
		for _, path := range candidates(name, searched(p)) {
			places, err := seen.expand(path)
			if err != nil {
				return err
			}
			f.Programs[name] = append(f.Programs[name], places...)
		}
	}
	return nil
}

// denyPrograms masks the files of denied programs in what the jail only reads, as
// `files { deny }` would: there it is the kernel that refuses them, whoever rewrites an
// exec's arguments, and there is nothing to make a copy of or to hand to a loader. A
// rule with arguments is not about the file, and one about a name of a multi-call
// program is not about all the others.
func (v *view) denyPrograms(p profiles.Process) {
	for _, r := range p.Deny {
		if len(r.Args) > 0 {
			continue
		}
		for _, place := range v.facts.Programs[r.Program] {
			if place.Dir || place.Socket || !v.shown(place.Real) || v.writable(place.Real) || v.isMulticall(place) && filepath.Base(r.Program) != filepath.Base(place.Real) {
				continue
			}
			if slices.ContainsFunc(v.plan.Programs.Masked, func(m MaskedProgram) bool {
				return m.Program == r.Program && m.Dev == place.Dev && m.Ino == place.Ino
			}) {
				continue
			}
			v.plan.Programs.Masked = append(v.plan.Programs.Masked, MaskedProgram{r.Program, place.Dev, place.Ino})
			if !slices.ContainsFunc(v.plan.Deny, func(d DenyMask) bool { return d.Path == place.Real }) {
				v.plan.Deny = append(v.plan.Deny, DenyMask{Path: place.Real, Origin: r.Origin.String()})
			}
		}
	}
}

func (v *view) isMulticall(p Place) bool {
	return slices.ContainsFunc(multicall, func(name string) bool {
		return slices.ContainsFunc(v.facts.Programs[name], func(q Place) bool { return q.Dev == p.Dev && q.Ino == p.Ino })
	})
}

// writable says whether the agent's view has a path where something can be written.
func (v *view) writable(path string) bool {
	return within(path, v.plan.Workspace.Path) || slices.ContainsFunc(v.plan.Mounts, func(m Mount) bool { return m.Writable && within(path, m.Target) })
}

// judge finds out what an exec starts and asks the rules. Its goroutine is the
// notifier's.
type judge struct {
	plan  *Plan
	rules *programs
	upper *os.File // nil without an overlay on the workspace
	files []ruled
	multi []ruled
	known bool // files were looked for
}

func (j *judge) upperFD() int {
	if j.upper == nil || j.plan.Workspace.Mode != profiles.ModeOverlay {
		return -1
	}
	return int(j.upper.Fd())
}

// look reads what the caller would start, whose path leads to file where that is not nil.
// Without rules only the mark for the trail is wanted.
func (j *judge) look(c caller, dirfd int, path string, file *os.File, rec *audit.Exec) (s start) {
	limited := j.rules.rules.Limited()
	if limited {
		c.tid = threadInside(c.proc)
	}
	if limited && !j.known {
		// The first exec is the agent's stage's: nothing hostile runs yet.
		j.known = true
		j.identify(c)
	}
	if _, own := c.ownProc(path); own {
		file = nil // the supervisor's own
	}
	j.follow(&s, c, dirfd, path, file, profiles.Exec{Path: rec.Process.Path, Argv: rec.Process.Argv}, limited, 0)
	return s
}

// follow adds a program and what it leads to. found is the program's file where somebody
// has opened it already.
func (j *judge) follow(s *start, c caller, dirfd int, path string, found *os.File, e profiles.Exec, limited bool, depth int) {
	if depth > maxHops {
		s.unknown = true
		return
	}
	f := found
	if f == nil {
		var err error
		if f, err = c.open(dirfd, path); err != nil {
			s.unknown = true
			return
		}
		defer f.Close()
	}
	p, err := look(f, j.plan.Workspace.Path, j.upperFD(), limited)
	if err != nil {
		s.unknown = true
		return
	}
	s.own = s.own || p.own
	s.memory = s.memory || p.stat.Nlink == 0 && strings.HasPrefix(p.real, "/memfd:")
	if !limited {
		return
	}
	e.Resolved, e.Aliases, e.Own = p.real, j.aliases(p), p.own
	s.execs, s.files = append(s.execs, e), append(s.files, p.identity())
	switch interp, arg, err := p.interpreter(); {
	case err != nil:
		s.unknown = true
	case interp != "":
		argv := slices.Concat([]string{interp}, arg, []string{e.Path}, e.Argv[min(1, len(e.Argv)):])
		j.follow(s, c, unix.AT_FDCWD, interp, nil, profiles.Exec{Path: interp, Argv: argv}, true, depth+1)
	case isLoader(p.real):
		j.loaded(s, c, e.Argv, depth)
	}
}

// loaded adds what a dynamic loader may be told to load: any of its arguments that is a
// file. Which one it is depends on the loader's version, and naming too many refuses
// too much, never too little.
func (j *judge) loaded(s *start, c caller, argv []string, depth int) {
	for i := 1; i < len(argv); i++ {
		word := argv[i]
		if word == "" {
			continue
		}
		if !strings.Contains(word, "/") { // looked for in folders that another argument names
			s.execs = append(s.execs, profiles.Exec{Path: word, Argv: argv[i:]})
		}
		f, err := c.open(unix.AT_FDCWD, word)
		if err != nil {
			continue
		}
		st := unix.Stat_t{}
		serr := unix.Fstat(int(f.Fd()), &st)
		f.Close()
		if serr != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR {
			continue
		}
		j.follow(s, c, unix.AT_FDCWD, word, nil, profiles.Exec{Path: word, Argv: argv[i:]}, true, depth+1)
		if depth+1 >= maxHops {
			return
		}
	}
}

// aliases are the rules' programs whose file this is, whatever it is called here.
func (j *judge) aliases(p program) (names []string) {
	if slices.ContainsFunc(j.multi, func(r ruled) bool { return r.is(p) }) {
		return nil // its names are what it is told apart by
	}
	for _, r := range j.files {
		if !slices.Contains(names, r.name) && r.is(p) {
			names = append(names, r.name)
		}
	}
	return names
}

// identify finds the files of the rules' programs in the jail. A masked one is the null
// device there; the plan knows what lies under it.
func (j *judge) identify(c caller) {
	p := j.rules.rules
	find := func(name string) (list []ruled) {
		for _, path := range candidates(name, searched(p)) {
			f, err := c.openat(path)
			if err != nil {
				continue
			}
			var st unix.Stat_t
			if unix.Fstat(int(f.Fd()), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
				r := ruled{name: name, dev: uint64(st.Dev), ino: st.Ino, size: st.Size} //nolint:unconvert // Dev is 32 bits wide elsewhere
				r.file, _ = reopen(f)                                                   // nil where it can't be read
				list = append(list, r)
			}
			f.Close()
		}
		return list
	}
	for _, name := range multicall {
		j.multi = append(j.multi, find(name)...)
	}
	seen := map[string]bool{}
	for _, r := range slices.Concat(p.Deny, p.Ask, p.Limit) {
		if !seen[r.Program] {
			seen[r.Program] = true
			j.files = append(j.files, find(r.Program)...)
		}
	}
	for _, m := range j.plan.Programs.Masked {
		j.files = append(j.files, ruled{name: m.Program, dev: m.Dev, ino: m.Ino, masked: true})
	}
}

func (j *judge) close() {
	for _, r := range slices.Concat(j.files, j.multi) {
		if r.file != nil {
			r.file.Close()
		}
	}
}

// threadInside is the caller's thread id as the jail numbers it.
func threadInside(proc string) int {
	data, err := readProc(proc + "/status")
	if err != nil {
		return 0
	}
	return lastField(data, "\nNSpid:")
}

func procDir(tid int) string { return "/proc/" + strconv.Itoa(tid) }
