package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// profileDiff says what one profile lets through and another one does not.
func profileDiff(h Host, c *cli.Context) error {
	if c.NArg() != 2 {
		return errors.New("profile diff needs two profiles\nhint: agentjail profile diff OLD NEW")
	}
	d, vars, err := profileInputs(h, c)
	if err != nil {
		return err
	}
	a, err := loadProfile(h, d, c.Args().Get(0), vars, false)
	if err != nil {
		return err
	}
	b, err := loadProfile(h, d, c.Args().Get(1), vars, false)
	if err != nil {
		return err
	}
	found := profiles.Diff(a, b)
	if c.Bool("json") {
		if found == nil {
			found = []profiles.Widening{}
		}
		err = writeJSON(h.Stdout, found)
	}
	for _, w := range found {
		if c.Bool("json") {
			break
		}
		where := ""
		if w.Origin != (profiles.Origin{}) {
			where = " (" + w.Origin.String() + ")"
		}
		if _, err = fmt.Fprintln(h.Stdout, audit.Printable(w.Text+where)); err != nil {
			break
		}
	}
	if err == nil && len(found) > 0 {
		return &ExitError{Code: 1}
	}
	return err
}

// profileUnused says which rules of a profile no recorded run needed.
func profileUnused(h Host, c *cli.Context) error {
	if c.NArg() == 0 {
		return errors.New("profile unused needs a run\nhint: agentjail profile unused last")
	}
	d, err := findDirs(h.getenv, h.Home, h.UID)
	if err != nil {
		return err
	}
	use := profiles.Use{Rules: map[string]bool{}, Secrets: map[string]bool{}}
	var spec *profiles.Spec
	var first string
	for _, what := range c.Args().Slice() {
		i, err := findRun(d, what)
		if err != nil {
			return err
		}
		s, err := readRunProfile(i)
		if err != nil {
			return err
		}
		if spec == nil {
			spec, first = s, i.ID
		} else if !spec.Same(s) {
			return fmt.Errorf("run %s had another profile than run %s, so that their lines are not the same\nhint: name runs of one profile that was not edited between them", i.ID, first)
		}
		if i.State() != StateEnded {
			fmt.Fprintf(h.Stderr, "agentjail: run %s is %s: what it still needs is not in its trail\n", i.ID, i.State())
		}
		if err := readUse(i, &use); err != nil {
			return err
		}
	}
	found := spec.Unused(use)
	if c.Bool("json") {
		if found == nil {
			found = []profiles.Unneeded{}
		}
		return writeJSON(h.Stdout, found)
	}
	for _, x := range found {
		if _, err := fmt.Fprintln(h.Stdout, audit.Printable(x.Origin.String()+": "+x.Text)); err != nil {
			return err
		}
	}
	return nil
}

func readRunProfile(i Info) (*profiles.Spec, error) {
	path := filepath.Join(i.dir, fileProfile)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the profile of run %s: %w", i.ID, pathCause(err))
	}
	var s profiles.Spec
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("the profile of run %s (%s): %w", i.ID, path, err)
	}
	return &s, nil
}

// readUse adds what a run's trail says that it needed. A line that can't be read ends
// it: what is not known must not count as not needed.
func readUse(i Info, use *profiles.Use) error {
	f, err := os.Open(i.Audit)
	if err != nil {
		return fmt.Errorf("the trail of run %s: %w", i.ID, pathCause(err))
	}
	defer f.Close()
	for e, err := range audit.Read(f) {
		if errors.Is(err, audit.ErrTruncated) {
			continue
		}
		if err != nil {
			return fmt.Errorf("the trail of run %s: %w", i.ID, err)
		}
		v := e.View()
		if v.Kind == "exec" && v.Verdict != string(audit.Blocked) {
			use.Programs = append(use.Programs, e.Process.Path)
		}
		if v.Rule != "" && v.Verdict != string(audit.Blocked) {
			use.Rules[v.Rule] = true
		}
		var own struct {
			Secrets []string `json:"secrets"`
		}
		if v.Kind == "http" && json.Unmarshal(e.Unmapped, &own) == nil {
			for _, name := range own.Secrets {
				use.Secrets[name] = true
			}
		}
	}
	return nil
}
