package suite

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// Exit codes.
const (
	ExitEscape  = 1   // an attack escaped, or is not in the trail
	ExitTrouble = 125 // the suite could not do its work
)

// Options are what a performance is to be.
type Options struct {
	Agentjail string   `json:"agentjail"`
	Profile   string   `json:"profile"`
	Vars      []string `json:"vars"`
	Groups    []string `json:"groups"`
	Attacks   []string `json:"attacks"`
	JSON      bool     `json:"json"`
	List      bool     `json:"list"`
}

// whole says whether nothing was chosen.
func (o Options) whole() bool { return len(o.Groups) == 0 && len(o.Attacks) == 0 }

// wants says whether an attack was chosen.
func (o Options) wants(id, group string) bool {
	return o.whole() || slices.Contains(o.Attacks, id) || slices.Contains(o.Groups, group)
}

// list is a flag that may be repeated.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// Main is the command line behind `agentjail attack`.
func Main(args []string, out, errs io.Writer) int {
	o, err := parse(args)
	if err == nil {
		var r Report
		if o.List {
			r = listing(o)
		} else {
			r, err = Perform(o)
		}
		if err == nil {
			if o.JSON {
				enc := json.NewEncoder(out)
				enc.SetIndent("", "  ")
				err = enc.Encode(r)
			} else {
				err = r.write(out)
			}
		}
		if err == nil {
			if r.Failed > 0 {
				return ExitEscape
			}
			return 0
		}
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(errs, "agentjail: attack: %s\n", strings.TrimRight(line, "\n"))
	}
	return ExitTrouble
}

func parse(args []string) (Options, error) {
	var o Options
	f := flag.NewFlagSet("agentjail-attack", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.Agentjail, "agentjail", "", "")
	f.StringVar(&o.Profile, "profile", "base", "")
	f.BoolVar(&o.JSON, "json", false, "")
	f.BoolVar(&o.List, "list", false, "")
	f.Var((*list)(&o.Vars), "var", "")
	f.Var((*list)(&o.Groups), "group", "")
	f.Var((*list)(&o.Attacks), "attack", "")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("%q is more than this command takes", f.Arg(0))
	}
	for i, g := range o.Groups {
		o.Groups[i] = strings.ToUpper(g)
		if len(g) != 1 || o.Groups[i] < "A" || o.Groups[i] > "J" {
			return o, fmt.Errorf("there is no group %q\nhint: the groups are A to J, see agentjail attack --list", g)
		}
	}
	known := ids(attacks.All())
	for _, s := range scenarios() {
		known = append(known, s.ID)
	}
	for _, a := range o.Attacks {
		if !slices.Contains(known, a) {
			return o, fmt.Errorf("there is no attack %q\nhint: see agentjail attack --list", a)
		}
	}
	if o.Agentjail == "" && !o.List {
		return o, errors.New("no agentjail was named\nhint: run agentjail attack")
	}
	return o, nil
}

// Report is the whole outcome.
type Report struct {
	Profile string   `json:"profile"`
	Kernel  string   `json:"kernel"`
	Mode    string   `json:"mode"` // of the jails: "root" or "rootless"
	Results []Result `json:"results"`
	Failed  int      `json:"failed"`
	Stopped int      `json:"stopped"`
	Moot    int      `json:"not_meaningful"`
}

// Perform plants, attacks and judges.
func Perform(o Options) (r Report, err error) {
	dir, err := os.MkdirTemp("", "agentjail-attack-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, removeAll(dir)) }()
	// A jail's own user passes through it.
	if err := os.Chmod(dir, 0o711); err != nil {
		return r, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return r, err
	}
	if strings.ContainsRune(o.Profile, '/') || strings.HasSuffix(o.Profile, ".hcl") {
		if o.Profile, err = filepath.Abs(o.Profile); err != nil {
			return r, err
		}
	}
	s := &scene{opt: o, dir: dir}
	if s.program, err = s.installProgram(); err != nil {
		return r, err
	}
	plan, err := s.plan()
	if err != nil {
		return r, err
	}
	s.direct = plan.direct()
	r.Profile, r.Kernel, r.Mode = o.Profile, kernelRelease(), "root"
	if plan.Rootless {
		r.Mode = "rootless"
	}
	var here, there []attacks.Attack
	for _, a := range attacks.All() {
		switch {
		case !o.wants(a.ID, a.Group()):
		case a.Network:
			there = append(there, a)
		default:
			here = append(here, a)
		}
	}
	if r.Results, err = s.onHost(here, plan); err != nil {
		return r, err
	}
	if len(there) > 0 {
		p, err := onStage(stageOrder{Options: o, Dir: dir, Program: s.program, Attacks: ids(there), Opened: plan.Syscalls, Direct: plan.direct()})
		if err != nil {
			return r, fmt.Errorf("%w\nhint: attacks on the network need a network namespace of their own; --group leaves them out", err)
		}
		r.Results = append(r.Results, p.Results...)
	}
	chosen := slices.DeleteFunc(scenarios(), func(s scenario) bool { return !o.wants(s.ID, s.Group()) })
	played, err := s.runScenarios(chosen)
	if err != nil {
		return r, err
	}
	r.Results = append(r.Results, played...)
	r.finish(o)
	return r, nil
}

// onHost performs what needs no stage.
func (s *scene) onHost(list []attacks.Attack, plan plan) ([]Result, error) {
	if len(list) == 0 {
		return nil, nil
	}
	s.env = []string{"LD_PRELOAD=/agentjail-canary.so"}
	defer func() { s.env = nil }()
	p := &play{scene: s, opened: plan.Syscalls}
	var err error
	for name, c := range map[string]**canaries{"jailed": &p.jail, "free": &p.free} {
		if *c, err = plant(filepath.Join(s.dir, name), s.opt.Agentjail, homeDir()); err != nil {
			break
		}
		(*c).target.Direct = plan.direct()
	}
	var out performance
	if err == nil {
		out, err = p.perform(list)
	}
	for _, c := range []*canaries{p.jail, p.free} {
		if c != nil {
			err = errors.Join(err, c.remove())
		}
	}
	return out.Results, err
}

// plan is what of `agentjail run --dry-run` the suite needs to know.
type plan struct {
	Rootless  bool     `json:"rootless"`
	Syscalls  []string `json:"syscalls"` // opened by the profile
	Workspace struct {
		Mode string `json:"mode"`
	} `json:"workspace"`
}

func (p plan) direct() bool { return p.Workspace.Mode == "direct" }

func (s *scene) plan() (p plan, err error) {
	work := filepath.Join(s.dir, "plan")
	if err := os.Mkdir(work, 0o755); err != nil {
		return p, err
	}
	args := []string{"run", "--dry-run", "--profile", s.opt.Profile, "--workspace", work}
	for _, v := range s.opt.Vars {
		args = append(args, "--var", v)
	}
	cmd := exec.Command(s.opt.Agentjail, append(args, "--", "true")...)
	out, err := cmd.Output()
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		return p, fmt.Errorf("the profile %s: %s", s.opt.Profile, strings.TrimSpace(string(ee.Stderr)))
	}
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(out, &p)
}

// installProgram puts a copy of this program where a jail may be let run it.
func (s *scene) installProgram() (string, error) {
	dir := filepath.Join(s.dir, "program")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "agentjail-attack")
	return path, errors.Join(os.WriteFile(path, data, 0o755), os.Chmod(path, 0o755))
}

func selectAttacks(names []string) []attacks.Attack {
	return slices.DeleteFunc(attacks.All(), func(a attacks.Attack) bool { return !slices.Contains(names, a.ID) })
}

// homeDir is the caller's. It is only looked at.
func homeDir() string {
	if home := os.Getenv("HOME"); home != "" {
		return home
	}
	if u, err := user.LookupId(strconv.Itoa(os.Geteuid())); err == nil {
		return u.HomeDir
	}
	return "/nonexistent"
}

func kernelRelease() string {
	data, _ := os.ReadFile("/proc/sys/kernel/osrelease") // of no weight
	return strings.TrimSpace(string(data))
}

// removeAll removes the suite's folder, also what attacks made hard to remove.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
