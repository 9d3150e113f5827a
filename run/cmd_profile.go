package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// profileCommand looks at profiles and starts nothing.
func profileCommand(h Host) *cli.Command {
	vars := &cli.StringSliceFlag{Name: "var", Usage: "`NAME=VALUE` of a variable of the profile"}
	asJSON := &cli.BoolFlag{Name: "json", Usage: "as JSON"}
	return &cli.Command{
		Name:   "profile",
		Usage:  "list, show, check, test, compare and format profiles",
		Action: subcommandOnly,
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "list the profiles that a name can mean", Flags: []cli.Flag{asJSON},
				Action: func(c *cli.Context) error { return profileList(h, c) },
			},
			{
				Name: "show", Usage: "print a profile resolved, with where each rule comes from", ArgsUsage: "[NAME|FILE]",
				Flags:        []cli.Flag{asJSON, vars},
				BashComplete: completeProfiles(h),
				Action:       func(c *cli.Context) error { return profileShow(h, c) },
			},
			{
				Name: "providers", Usage: "list the services that a profile can name by like", Flags: []cli.Flag{asJSON},
				Action: func(c *cli.Context) error { return profileProviders(h, c) },
			},
			{
				Name: "prices", Usage: "list what models cost", Flags: []cli.Flag{asJSON},
				Action: func(c *cli.Context) error { return profilePrices(h, c) },
			},
			{
				Name: "check", Usage: "find the mistakes in profiles", ArgsUsage: "[NAME|FILE...]",
				Flags:        []cli.Flag{&cli.BoolFlag{Name: "strict", Usage: "take warnings as errors"}, vars},
				BashComplete: completeProfiles(h),
				Action:       func(c *cli.Context) error { return profileCheck(h, c) },
			},
			{
				Name: "test", Usage: "try the test blocks of profiles", ArgsUsage: "[NAME|FILE...]",
				Flags:        []cli.Flag{asJSON, vars},
				BashComplete: completeProfiles(h),
				Action:       func(c *cli.Context) error { return profileTest(h, c) },
			},
			{
				Name: "diff", Usage: "say what NEW lets through that OLD does not; exit code 1 if there is anything", ArgsUsage: "OLD NEW",
				Flags:        []cli.Flag{asJSON, vars},
				BashComplete: completeProfiles(h),
				Action:       func(c *cli.Context) error { return profileDiff(h, c) },
			},
			{
				Name: "unused", Usage: "say which rules and grants no recorded run needed", ArgsUsage: "RUN...",
				Flags:        []cli.Flag{asJSON},
				BashComplete: completeRuns(h),
				Action:       func(c *cli.Context) error { return profileUnused(h, c) },
			},
			{
				Name: "schema", Usage: "print a JSON schema of profiles in JSON syntax, for editors",
				Action: func(c *cli.Context) error {
					if err := noArguments(c); err != nil {
						return err
					}
					schema, err := profiles.JSONSchema()
					if err != nil {
						return err
					}
					_, err = h.Stdout.Write(schema)
					return err
				},
			},
			{
				Name: "fmt", Usage: "give profiles their standard layout", ArgsUsage: "FILE... or -",
				Flags: []cli.Flag{
					&cli.BoolFlag{Name: "w", Usage: "write the files in place, not to stdout"},
					&cli.BoolFlag{Name: "check", Usage: "list the files whose layout is another one; exit code 1 if there are any"},
				},
				Action: func(c *cli.Context) error { return profileFmt(h, c) },
			},
		},
	}
}

func profileList(h Host, c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	d, err := findDirs(h.getenv, h.Home, h.UID)
	if err != nil {
		return err
	}
	list := profiles.List(h.profileOptions(d, nil))
	if c.Bool("json") {
		return writeJSON(h.Stdout, list)
	}
	w := tabwriter.NewWriter(h.Stdout, 0, 0, 2, ' ', 0)
	for _, p := range list {
		note := ""
		if p.Hidden {
			note = "  (hidden by the one above)"
		}
		fmt.Fprintf(w, "%s\t%s%s\n", audit.Printable(p.Name), audit.Printable(p.Path), note)
	}
	return w.Flush()
}

func profileShow(h Host, c *cli.Context) error {
	name, err := atMostOne(c)
	if err != nil {
		return err
	}
	d, vars, err := profileInputs(h, c)
	if err != nil {
		return err
	}
	spec, err := loadProfile(h, d, name, vars, false)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return writeJSON(h.Stdout, spec)
	}
	return profiles.WriteText(h.Stdout, spec)
}

// profileCheck loads each profile and shows every mistake of all of them.
func profileCheck(h Host, c *cli.Context) error {
	d, vars, err := profileInputs(h, c)
	if err != nil {
		return err
	}
	options := h.profileOptions(d, vars)
	names := c.Args().Slice()
	if len(names) == 0 {
		for _, p := range profiles.List(options) {
			if !p.Hidden {
				names = append(names, p.Name)
			}
		}
	}
	wrong := 0
	for _, name := range names {
		_, diags, files := profiles.Load(name, options)
		if len(diags) > 0 {
			text, err := diagnosticText(diags, files)
			if err != nil {
				return err
			}
			if _, err := io.WriteString(h.Stderr, text); err != nil {
				return err
			}
		}
		said := "ok"
		switch {
		case diags.HasErrors() || c.Bool("strict") && len(diags) > 0:
			wrong++
			continue
		case len(diags) > 0:
			said += ", " + plural(len(diags), "warning")
		}
		if _, err := fmt.Fprintf(h.Stdout, "%s: %s\n", audit.Printable(name), said); err != nil {
			return err
		}
	}
	if wrong > 0 {
		return &ExitError{Code: ExitAgentjail, Err: fmt.Errorf("%s of %d can't be used", plural(wrong, "profile"), len(names))}
	}
	return nil
}

// profileInputs are the folders and variables that a profile is loaded with.
func profileInputs(h Host, c *cli.Context) (Dirs, map[string]string, error) {
	d, err := findDirs(h.getenv, h.Home, h.UID)
	if err != nil {
		return d, nil, err
	}
	vars, err := parseVars(c.StringSlice("var"))
	return d, vars, err
}

// parseVars reads --var NAME=VALUE.
func parseVars(list []string) (map[string]string, error) {
	vars := make(map[string]string, len(list))
	for _, v := range list {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--var %s is not NAME=VALUE", v)
		}
		vars[name] = value
	}
	return vars, nil
}

// profileFmt formats files as gofmt does: to stdout, in place with -w.
func profileFmt(h Host, c *cli.Context) error {
	names := c.Args().Slice()
	switch {
	case len(names) == 0:
		return errors.New("profile fmt needs a file\nhint: - is the standard input")
	case c.Bool("w") && c.Bool("check"):
		return errors.New("profile fmt: -w writes and --check does not; take one of them")
	}
	differ := 0
	for _, name := range names {
		src, err := readProfile(h, name)
		if err != nil {
			return err
		}
		formatted, err := formatProfile(src, name)
		if err != nil {
			return err
		}
		same := bytes.Equal(src, formatted)
		switch {
		case c.Bool("check"):
			if !same {
				differ++
				fmt.Fprintln(h.Stdout, audit.Printable(name))
			}
		case c.Bool("w"):
			if name == "-" {
				return errors.New("profile fmt -w: the standard input can't be written in place")
			}
			if !same {
				err = replaceFile(absolute(h.Cwd, name), formatted)
			}
		default:
			_, err = h.Stdout.Write(formatted)
		}
		if err != nil {
			return err
		}
	}
	if differ > 0 {
		return &ExitError{Code: 1}
	}
	return nil
}

func readProfile(h Host, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(h.Stdin)
	}
	return os.ReadFile(absolute(h.Cwd, name))
}

// formatProfile refuses what is no profile's syntax: a formatter that guesses loses
// what it did not understand.
func formatProfile(src []byte, name string) ([]byte, error) {
	if strings.HasSuffix(name, ".json") {
		return nil, fmt.Errorf("%s has HCL's JSON syntax, which has no standard layout\nhint: jq . formats it", name)
	}
	if name == "-" {
		name = "stdin.hcl"
	}
	if diags, files := profiles.CheckSyntax(src, name); diags.HasErrors() {
		text, err := diagnosticText(diags, files)
		if err != nil {
			return nil, err
		}
		return nil, &diagnosticError{text}
	}
	return profiles.Format(src), nil
}

// replaceFile writes a file anew with the mode that it has, whole or not at all. A
// symlink stays one: the file that it points to is replaced.
func replaceFile(path string, data []byte) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(real)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(real), "."+filepath.Base(real)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(info.Mode().Perm())
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), real)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// writeJSON writes what --json asks for.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
