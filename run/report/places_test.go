package report

import (
	"bytes"
	"fmt"
	"html/template"
	"regexp"
	"strings"
	"testing"
	"time"
)

// found counts what a check complains of.
type found int

func (f *found) Helper()               {}
func (f *found) Error(...any)          { *f++ }
func (f *found) Errorf(string, ...any) { *f++ }
func (f *found) Fatal(...any)          { *f++ }

// action is what page.html does at a place: writes a value, or anything else.
var (
	action  = regexp.MustCompile(`\{\{(-? ?)([^{}]*?)( ?-?)\}\}`)
	control = regexp.MustCompile(`^(if|else|end|range|with|define|template)\b`)
)

// TestPlaces takes the template's escaping away, at one place of page.html after the
// other: where a name that an agent chose can stand, the checks of the hostile names must
// complain. Where none can, it says which places those are.
func TestPlaces(t *testing.T) {
	r := everywhere(marker + `x"'></title><b onclick=x>`)
	r.Processes[0].CPU, r.Programs[0].Refused, r.More = 1_000_000, 1, map[string]int64{"findings": 1}
	all := action.FindAllStringSubmatchIndex(pageHTML, -1)
	hostile, ours := 0, 0
	for _, at := range all {
		what := pageHTML[at[4]:at[5]]
		if control.MatchString(what) {
			continue
		}
		// A word that no escaping touches stands for the value until the page is made.
		const word = "zqplacezq"
		var values []string
		source := pageHTML[:at[0]] + "{{place (" + what + ")}}" + pageHTML[at[1]:]
		place := func(v any) string {
			values = append(values, fmt.Sprint(v))
			return word
		}
		var page bytes.Buffer
		if err := render(&page, r, time.UTC, source, template.FuncMap{"place": place}); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		text := page.String()
		for _, v := range values {
			text = strings.Replace(text, word, v, 1)
		}
		line := 1 + strings.Count(pageHTML[:at[0]], "\n")
		switch {
		case len(values) == 0:
			t.Errorf("page.html:%d: {{%s}} is not reached by this report", line, what)
		case !strings.Contains(strings.Join(values, ""), marker):
			ours++ // a number, a time, or a word of our own
		default:
			hostile++
			var f found
			if checkPage(&f, []byte(text)); f == 0 {
				t.Errorf("page.html:%d: {{%s}} could go unescaped without a check that complains", line, what)
			}
		}
	}
	if t.Logf("%d places of hostile texts, %d of our own", hostile, ours); hostile < 30 {
		t.Errorf("only %d places have a hostile text: the report does not reach them", hostile)
	}
}
