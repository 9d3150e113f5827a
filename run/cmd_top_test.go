package run

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
)

// topRows are runs whose texts an agent, or whoever started them, chose.
func topRows() []topRow {
	started := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	rows := make([]topRow, 4)
	for i, name := range []string{"", "a-name-that-goes-on-and-on-and-on", "evil \u202e\u009b2J", "\x1b]0;x\a\n\xff"} {
		rows[i].runStats = runStats{ID: fmt.Sprintf("20260102-030405-0000000%d", i), Name: name, Profile: "web\x1b[2J", Argv: []string{"sh", "-c", "\x1b[31mred\r\n", "\u2066x"},
			Started: started, Now: started.Add(100 * time.Minute)}
		rows[i].Usage.Memory, rows[i].Usage.Network, rows[i].Progress.Execs, rows[i].Progress.Denials = 999<<20, 12345678, 123456, 77
	}
	rows[1].Frozen, rows[2].Anomalies, rows[3].Error = true, 3, "it has just begun"
	return rows
}

// TestTopScreen: on every screen each line fits, runs are told apart, and what nobody
// sees is counted.
func TestTopScreen(t *testing.T) {
	rows := topRows()
	for width := 10; width <= 260; width++ {
		for _, height := range []int{2, 3, 5, 24} {
			var b strings.Builder
			if err := drawTop(&b, rows, width, height, false); err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
			if len(lines) > height-1 && height > 2 {
				t.Errorf("%dx%d: %d lines", width, height, len(lines))
			}
			hidden := 0
			fmt.Sscanf(lines[len(lines)-1], "and %d more", &hidden)
			if seen := strings.Count(b.String(), "0000000"); width >= 20 && seen+hidden != len(rows) {
				t.Errorf("%dx%d: %d runs seen, %d more:\n%s", width, height, seen, hidden, b.String())
			}
			for _, l := range lines {
				if n := len([]rune(l)); n > width {
					t.Errorf("%dx%d: a line of %d: %q", width, height, n, l)
				}
			}
		}
	}
	var b strings.Builder
	if err := drawTop(&b, rows, 80, 24, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"RUN ", "NAME", "STATE", "CPU%", "MEM", "DENY", "!", "frozen", " 77 ", "00000003"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("80 columns have no %q:\n%s", want, b.String())
		}
	}
}

// TestTopHostile: no text of an agent's is obeyed by a terminal.
func TestTopHostile(t *testing.T) {
	for _, width := range []int{0, 80, 300} {
		var b strings.Builder
		if err := drawTop(&b, topRows(), width, 0, false); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.String() {
			if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar) {
				t.Errorf("width %d: %U in\n%q", width, r, b.String())
			}
		}
		if n := strings.Count(b.String(), "\n"); n != 6 {
			t.Errorf("width %d: %d lines\n%s", width, n, b.String())
		}
	}
}
