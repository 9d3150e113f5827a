package run

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/agentjail/agentjail/run/evidence"
)

// TestListingOfHostileNames: each text of an archive that an agent, or whoever has changed
// the archive since, may have chosen is shown as a quoted one.
func TestListingOfHostileNames(t *testing.T) {
	const evil = "x\x1b]0;owned\a\x1b[2J\u202e\u009b1m\xff\n"
	for name, set := range map[string]func(*evidence.Listing){
		"run":          func(l *evidence.Listing) { l.Manifest.Run = evil },
		"member":       func(l *evidence.Listing) { l.Members = []evidence.Member{{File: evidence.File{Name: evil}}} },
		"missing":      func(l *evidence.Listing) { l.Missing = []string{evil} },
		"left out":     func(l *evidence.Listing) { l.Manifest.LeftOut = []evidence.LeftOut{{Name: evil}} },
		"left out why": func(l *evidence.Listing) { l.Manifest.LeftOut = []evidence.LeftOut{{Why: evil}} },
	} {
		l := &evidence.Listing{}
		set(l)
		var b strings.Builder
		if err := writeListing(&b, l, time.UTC); err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexFunc(b.String(), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) || r == unicode.ReplacementChar }); i >= 0 {
			t.Errorf("%s: %q is shown", name, b.String())
		}
		if !strings.Contains(b.String(), `"x\x1b]0;owned\a`) {
			t.Errorf("%s: it is not shown at all: %q", name, b.String())
		}
	}
}
