package suite

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// play is one scene's performance: the same attacks, jailed and free.
type play struct {
	*scene
	jail, free *canaries
	profile    string // more of it
	secret     string // that nothing which comes out of a jail may have in it; "" for none
	opened     []string
	between    func() // the two halves
}

// perform tries attacks and judges them. The jail comes first.
func (p *play) perform(list []attacks.Attack) (performance, error) {
	out := performance{Results: []Result{}}
	if len(list) == 0 {
		return out, nil
	}
	for _, c := range []*canaries{p.jail, p.free} {
		if err := os.WriteFile(c.target.Profile, []byte(p.scene.profile(c.target, p.profile)), 0o666); err != nil {
			return out, err
		}
		if err := os.Chmod(c.target.Profile, 0o666); err != nil {
			return out, err
		}
	}
	tried, lacking := sift(list, p.jail.target)
	answers, runs, err := p.jailed(p.jail, tried)
	if err != nil {
		return out, err
	}
	p.jail.sweep()
	out.Results = append(out.Results, p.afterwards(runs)...)
	if p.between != nil {
		p.between()
	}
	trials := map[attacks.Without]map[string]string{}
	for _, where := range []attacks.Without{attacks.Plain, attacks.Nested, attacks.Looked} {
		these := slices.DeleteFunc(slices.Clone(tried), func(a attacks.Attack) bool { return a.Without&where == 0 })
		if len(these) > 0 {
			trials[where] = p.without(p.free, these, where)
		}
	}
	p.free.sweep()
	for _, a := range list {
		e := evidence{answer: answers[a.ID], marked: p.jail.seen.has(a.ID), needs: lacking[a.ID], opened: p.opened}
		for _, run := range runs {
			e.recorded = e.recorded || run.records(a)
		}
		for where, got := range trials {
			if answer, ok := got[a.ID]; ok {
				e.trials = append(e.trials, trial{where, answer, p.free.seen.has(a.ID)})
			}
		}
		out.Results = append(out.Results, judge(a, e))
	}
	return out, nil
}

// sift tells apart what this host can try.
func sift(list []attacks.Attack, t attacks.Target) (tried []attacks.Attack, lacking map[string]string) {
	lacking = map[string]string{}
	t.Jailed = true
	for _, a := range list {
		if a.Needs != nil {
			if why := a.Needs(&t); why != "" {
				lacking[a.ID] = why
				continue
			}
		}
		tried = append(tried, a)
	}
	return tried, lacking
}

// afterwards is what no single attack is to be judged by: that every canary is as it was,
// that every trail holds, and that nothing is left.
func (p *play) afterwards(runs []*ended) []Result {
	var trails, left, leaks []string
	for _, r := range runs {
		if r.trouble != "" {
			trails = append(trails, r.trouble)
		}
		left = append(left, p.leftovers(r)...)
		leaks = append(leaks, p.leaks(r)...)
	}
	changed := p.jail.changed()
	if p.jail.target.Direct {
		changed = slices.DeleteFunc(changed, func(path string) bool { return strings.HasPrefix(path, p.jail.target.Workspace+"/") })
	}
	results := []Result{
		verdictOn(12, "canaries", "the host's files are as they were", attacks.FileView, changed),
		verdictOn(68, "trail-sealed", "every trail holds: verify", attacks.Trail, trails),
		verdictOn(9, "nothing-left", "nothing is left of the jails, and the artifacts are plain files", attacks.Wipe, left),
	}
	if p.secret != "" {
		results = append(results, verdictOn(60, "secret-outputs", "the real credential is in no output, artifact or trail", attacks.Secrets, leaks))
	}
	if !p.opt.whole() {
		results = slices.DeleteFunc(results, func(r Result) bool { return r.Verdict == Stopped })
	}
	return results
}

func verdictOn(line int, id, what, layer string, found []string) Result {
	r := Result{Group: attacks.GroupOf(line), Line: line, Attack: id, What: what, Verdict: Stopped, Layer: layer, Answer: "ok"}
	if len(found) > 0 {
		r.Verdict, r.Layer, r.Answer, r.Why = Escaped, "", "", strings.Join(found, "; ")
	}
	return r
}

// leftovers are what a run should have taken away, and what an artifact should not be.
func (p *play) leftovers(r *ended) (left []string) {
	runs := filepath.Join(p.jail.target.State, "agentjail", "runs", r.id)
	for _, name := range []string{"upper", "lock"} {
		if _, err := os.Lstat(filepath.Join(runs, name)); !errors.Is(err, fs.ErrNotExist) {
			left = append(left, filepath.Join(runs, name)+" is left")
		}
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || r.id != "" && bytes.Contains(mounts, []byte(r.id)) {
		left = append(left, "a mount of run "+r.id+" is left")
	}
	_ = filepath.WalkDir(r.artifacts, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			left = append(left, err.Error())
		case !d.IsDir() && !d.Type().IsRegular():
			left = append(left, fmt.Sprintf("the artifact %q is no plain file: %v", path, d.Type()))
		default:
			if info, err := d.Info(); err == nil && info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
				left = append(left, fmt.Sprintf("the artifact %q has the mode %v", path, info.Mode()))
			}
		}
		return nil
	})
	return left
}

// leaks are the places outside of the jail in which the real credential is.
func (p *play) leaks(r *ended) (found []string) {
	if p.secret == "" {
		return nil
	}
	for where, text := range map[string]string{"the output": r.stdout, "stderr": r.stderr, "the trail": string(r.trail)} {
		if strings.Contains(text, p.secret) {
			found = append(found, where)
		}
	}
	for _, root := range []string{r.artifacts, p.jail.target.State} {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				if data, err := os.ReadFile(path); err == nil && bytes.Contains(data, []byte(p.secret)) {
					found = append(found, path)
				}
			}
			return nil
		})
	}
	return found
}
