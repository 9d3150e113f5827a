package run

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/run/changes"
)

func diffCommand(h Host) *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "show what a run changed",
		ArgsUsage: "[RUN] [PATH...]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "stat", Usage: "one line a file"},
			&cli.BoolFlag{Name: "json", Usage: "as JSON"},
			&cli.BoolFlag{Name: "no-pager", Usage: "never start $PAGER"},
		},
		BashComplete: completeRuns(h),
		Action: func(c *cli.Context) error {
			r, paths, err := runAndPaths(h, c.Args().Slice())
			if err != nil {
				return err
			}
			list, err := r.diffs(paths)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return writeDiffJSON(h.Stdout, r.list, list)
			}
			d := diffText{color: h.style(h.Stdout).Color, width: 100}
			text := d.all(list, c.Bool("stat"))
			if !r.list.Complete {
				text += d.unread(r.list)
			}
			return showText(h, text, c.Bool("no-pager"))
		},
	}
}

// diffs reads the differences of some paths; none is all of them.
func (r *runChanges) diffs(paths []string) ([]changes.FileDiff, error) {
	patch, err := os.Open(r.path(filePatch))
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", r.info.ID, err)
	}
	defer patch.Close()
	list, err := changes.Diff(r.list, patch, changes.DiffOptions{})
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", r.info.ID, err)
	}
	if len(paths) > 0 {
		list = slices.DeleteFunc(list, func(d changes.FileDiff) bool {
			return !under(d.Change.Path, paths) && (d.From == nil || !under(d.From.Path, paths))
		})
	}
	return list, nil
}

// diffText writes differences for people. Everything in it that the jail chose is
// shown with what a terminal would act on escaped (CVE-2021-42574 and its kin).
type diffText struct {
	color bool
	width int
}

// SGR of ECMA-48, as git colours a diff.
const (
	sgrBold  = "\x1b[1m"
	sgrRed   = "\x1b[31m"
	sgrGreen = "\x1b[32m"
	sgrCyan  = "\x1b[36m"
	sgrReset = "\x1b[m"
)

func (d diffText) paint(sgr, s string) string {
	if !d.color || s == "" {
		return s
	}
	return sgr + s + sgrReset
}

func (d diffText) all(list []changes.FileDiff, stat bool) string {
	var b strings.Builder
	if stat {
		d.stat(&b, list)
		return b.String()
	}
	for i := range list {
		d.one(&b, &list[i])
	}
	return b.String()
}

// title names a file and what happened to it.
func (d diffText) title(f *changes.FileDiff) string {
	if f.From != nil {
		s := fmt.Sprintf("%s → %s: renamed", shown(f.From.Path), shown(f.Change.Path))
		if f.Percent < 100 {
			s += fmt.Sprintf(", %d%% as it was", f.Percent)
		}
		if f.From.Before.Mode != f.Change.After.Mode {
			s += fmt.Sprintf(", mode %04o → %04o", uint32(f.From.Before.Mode), uint32(f.Change.After.Mode))
		}
		return s
	}
	s := shown(f.Change.Path) + ": " + f.Change.Describe()
	if f.Change.OverHidden {
		s += ", over something that was hidden from the jail"
	}
	return s
}

// size is what there is to say of a file that has no lines.
func (d diffText) size(f *changes.FileDiff) string {
	var parts []string
	if f.Binary {
		before, after := "nothing", "nothing"
		if b := f.Change.Before; b != nil {
			before = fmt.Sprintf("%d bytes", b.Size)
		}
		if a := f.Change.After; a != nil {
			after = fmt.Sprintf("%d bytes", a.Size)
		}
		parts = append(parts, fmt.Sprintf("binary, %s → %s", before, after))
	}
	if f.Change.Omitted != "" {
		parts = append(parts, "not in changes.patch: "+f.Change.Omitted)
	}
	return strings.Join(parts, "; ")
}

func (d diffText) one(b *strings.Builder, f *changes.FileDiff) {
	b.WriteString(d.paint(sgrBold, d.title(f)) + "\n")
	if s := d.size(f); s != "" {
		b.WriteString("  " + s + "\n")
	}
	for line := range bytes.Lines(f.Hunks) {
		text := shownLine(string(bytes.TrimSuffix(line, []byte{'\n'})))
		switch line[0] {
		case '+':
			text = d.paint(sgrGreen, text)
		case '-':
			text = d.paint(sgrRed, text)
		case '@':
			text = d.paint(sgrCyan, text)
		}
		b.WriteString(text + "\n")
	}
	b.WriteByte('\n')
}

func (d diffText) stat(b *strings.Builder, list []changes.FileDiff) {
	most, name := 1, 0
	for i := range list {
		most = max(most, list[i].Added+list[i].Removed)
		name = max(name, len([]rune(d.name(&list[i]))))
	}
	name = min(name, d.width/2)
	added, removed := 0, 0
	for i := range list {
		f := &list[i]
		added, removed = added+f.Added, removed+f.Removed
		text := d.size(f)
		if text == "" {
			bar := func(n int) int { return (n*30 + most - 1) / most }
			text = fmt.Sprintf("%5d ", f.Added+f.Removed) + d.paint(sgrGreen, strings.Repeat("+", bar(f.Added))) + d.paint(sgrRed, strings.Repeat("-", bar(f.Removed)))
			if f.Added+f.Removed == 0 {
				text = f.Change.Describe()
			}
		}
		fmt.Fprintf(b, " %-*s | %s\n", name, d.name(f), text)
	}
	fmt.Fprintf(b, " %s changed, %s added, %s removed\n", plural(len(list), "file"), plural(added, "line"), plural(removed, "line"))
}

func (d diffText) name(f *changes.FileDiff) string {
	if f.From != nil {
		return shown(f.From.Path) + " → " + shown(f.Change.Path)
	}
	return shown(f.Change.Path)
}

func (d diffText) unread(l *changes.List) string {
	var b strings.Builder
	for _, u := range l.Unread {
		fmt.Fprintf(&b, "%s: not compared: %s\n", shown(u.Path), u.Reason)
	}
	return b.String()
}

// shown is a name of the jail's on a terminal.
func shown(name string) string { return audit.Printable(name) }

// shownLine is a line of the jail's on a terminal: tabs stay, and whatever else is
// not simply shown is escaped in place.
func shownLine(s string) string {
	var b strings.Builder
	for part := range strings.SplitAfterSeq(s, "\t") {
		text, tab := strings.CutSuffix(part, "\t")
		if p := audit.Printable(text); p != text {
			text = p[1 : len(p)-1] // without the quotes
			text = strings.ReplaceAll(text, `\"`, `"`)
			text = strings.ReplaceAll(text, `\\`, `\`)
		}
		b.WriteString(text)
		if tab {
			b.WriteByte('\t')
		}
	}
	return b.String()
}

// diffJSON is one change of diff --json.
type diffJSON struct {
	*changes.Change
	From    *changes.Change
	Percent int
	Binary  bool
	Added   int
	Removed int
}

// MarshalJSON implements json.Marshaler: the change's own members, and those of the
// difference beside them.
func (d diffJSON) MarshalJSON() ([]byte, error) {
	return changes.MarshalWith(d.Change, struct {
		From    *changes.Change `json:"renamed_from,omitempty"`
		Percent int             `json:"similarity,omitempty"`
		Binary  bool            `json:"binary,omitempty"`
		Added   int             `json:"lines_added"`
		Removed int             `json:"lines_removed"`
	}{d.From, d.Percent, d.Binary, d.Added, d.Removed})
}

// writeDiffJSON writes the form of changes.json, of what is shown.
func writeDiffJSON(w io.Writer, all *changes.List, list []changes.FileDiff) error {
	shown := changes.List{Complete: all.Complete, Unread: all.Unread}
	out := make([]diffJSON, len(list))
	for i, f := range list {
		out[i] = diffJSON{f.Change, f.From, f.Percent, f.Binary, f.Added, f.Removed}
		shown.Changes = append(shown.Changes, *f.Change)
		if f.From != nil {
			shown.Changes = append(shown.Changes, *f.From)
		}
	}
	return changes.WriteJSONWith(w, &shown, out)
}

// showText writes a text, by the pager on a terminal.
func showText(h Host, text string, noPager bool) error {
	if noPager || !term.IsTerminal(int(h.Stdout.Fd())) {
		_, err := io.WriteString(h.Stdout, text)
		return err
	}
	return page(h, text)
}

// page shows a text as git does: through $PAGER, or less, and without one where that
// can't be started. No shell takes part.
func page(h Host, text string) error {
	argv := strings.Fields(h.getenv("PAGER"))
	if _, set := h.lookup("PAGER"); !set {
		argv = []string{"less"}
	}
	if len(argv) == 0 || argv[0] == "cat" {
		_, err := io.WriteString(h.Stdout, text)
		return err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(text), h.Stdout, h.Stderr
	cmd.Env = h.Environ
	if _, set := h.lookup("LESS"); !set {
		cmd.Env = append(slices.Clone(h.Environ), "LESS=FRX") // git-config(1), core.pager
	}
	// Ctrl-C is the pager's while it is there, as in git.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		_, err = io.WriteString(h.Stdout, text)
		return err
	case errors.Is(err, syscall.EPIPE): // somebody left the pager before its end
		return nil
	}
	return err
}
