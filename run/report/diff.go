package report

import "strings"

// Bounds of the differences in a report: of one file, and of all.
const (
	maxDiffLines    = 400
	maxAllDiffLines = 12_000
)

// Diffs gives the files of a report their differences.
type Diffs struct {
	r     *Report
	at    map[string]int // place in the list, by path
	lines int
}

// NewDiffs begins with a report that has none.
func NewDiffs(r *Report) *Diffs {
	d := &Diffs{r: r, at: make(map[string]int, len(r.Files.List))}
	for i := range r.Files.List {
		d.at[r.Files.List[i].Path] = i
	}
	return d
}

// Add gives a file its difference, if the trail names the file. hunks is a unified diff
// from its first "@@" on; note says why there are no lines.
func (d *Diffs) Add(path string, added, removed int, hunks, note string) {
	i, known := d.at[path]
	if !known {
		return
	}
	f := &d.r.Files.List[i]
	f.Added, f.Removed = added, removed
	if note != "" {
		f.Note = note
	}
	for line := range strings.Lines(hunks) {
		if len(f.Diff) >= maxDiffLines || d.lines >= maxAllDiffLines {
			f.Cut = true
			return
		}
		d.lines++
		f.Diff = append(f.Diff, strings.TrimSuffix(line, "\n"))
	}
}
