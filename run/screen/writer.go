package screen

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// A Writer filters what is written to a terminal. It is for one goroutine.
type Writer struct {
	to io.Writer
	f  Filter
}

// NewWriter filters what goes to a terminal.
func NewWriter(to io.Writer) *Writer { return &Writer{to: to} }

// Write implements io.Writer. It has taken all of p, or none.
func (w *Writer) Write(p []byte) (int, error) {
	if out := w.f.Pass(p); len(out) > 0 {
		if _, err := w.to.Write(out); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Close writes what was held back. It leaves the terminal open.
func (w *Writer) Close() error {
	if out := w.f.End(); len(out) > 0 {
		_, err := w.to.Write(out)
		return err
	}
	return nil
}

// Counts says what was taken out, by kind.
func (w *Writer) Counts() map[string]int64 { return w.f.Counts() }

// Text is counts on one line; "" where nothing was taken out.
func Text(counts map[string]int64) string {
	var list []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, fmt.Sprintf("%s %d", kind, counts[kind]))
	}
	return strings.Join(list, ", ")
}

// Severe says whether what was taken out would have put something where people or
// programs outside of the run take it from. The rest many honest programs write.
func Severe(counts map[string]int64) bool { return counts[Clipboard]+counts[Printer] > 0 }
