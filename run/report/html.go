package report

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed" // the page and its style
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/agentjail/agentjail/audit"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// page is what the template shows.
type page struct {
	R        *Report
	Style    template.CSS
	Outcome  string
	Failed   bool
	Started  string
	Took     string
	Facts    []string
	Stats    []stat
	Panels   []panel
	Marks    []pageMark
	From     string
	Middle   string
	To       string
	Hosts    []pageHost
	Budgets  []pageBudget
	FilesSum string
}

type stat struct {
	Value, What string
	Bad         bool
}

type pageHost struct {
	Name, Says string
	Width      int64
}

type pageBudget struct {
	audit.BudgetUse
	Says, Class    string
	Percent, Width int64
}

// HTML writes one page that needs nothing else: no script, no network, no font. The
// policy in it allows its own style by its hash (CSP 3, 2.3.1) and nothing besides, so
// that even what slipped through the template's escaping could not load or run anything.
func HTML(w io.Writer, r *Report, zone *time.Location) error {
	return render(w, r, zone, pageHTML, nil)
}

// render fills a template; more are functions that it has beside ours.
func render(w io.Writer, r *Report, zone *time.Location, text string, more template.FuncMap) error {
	r = clean(r)
	zone = cmp.Or(zone, time.UTC)
	sum := sha256.Sum256([]byte(pageCSS))
	hash := "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
	p := page{R: r, Style: template.CSS(pageCSS),
		Outcome: r.Run.outcome(), Failed: r.Run.failed(), Started: clock(r.Run.Started, zone), Took: span(r.Run.took()),
		Facts: r.facts(), Stats: r.stats(), Panels: r.panels(), FilesSum: r.Files.summary()}
	p.times(zone)
	p.hosts()
	p.budgets()
	t, err := template.New("page").Funcs(p.funcs(zone)).Funcs(more).Parse(strings.Replace(text, "STYLE-HASH", hash, 1))
	if err != nil {
		return fmt.Errorf("report page: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, &p); err != nil {
		return fmt.Errorf("report page: %w", err)
	}
	_, err = w.Write(b.Bytes())
	return err
}

func (p *page) funcs(zone *time.Location) template.FuncMap {
	return template.FuncMap{
		"number": number,
		"clock":  func(ms int64) string { return clock(ms, zone) },
		"calls":  func(n int64) string { return plural(n, "call") },
		"tokens": tokens,
		"cost":   cost,
		"depth":  func(n int) int { return min(n, 8) },
		"cpu":    func(us int64) string { return span(us/1000) + " CPU" },
		"more":   func(list string) string { return p.R.more(list, 0, 0) },
		"severity": func(s string) string {
			return map[string]string{"medium": "warn", "high": "bad", "critical": "bad", "fatal": "bad"}[s]
		},
		"lineClass": func(line string) string {
			switch {
			case strings.HasPrefix(line, "+"), strings.HasPrefix(line, `"+`): // quoted where it is not printable
				return "a"
			case strings.HasPrefix(line, "-"), strings.HasPrefix(line, `"-`):
				return "d"
			case strings.HasPrefix(line, "@@"):
				return "h"
			}
			return ""
		},
	}
}

func (r *Report) stats() []stat {
	var in, out int64
	for _, h := range r.Hosts {
		in, out = in+h.In, out+h.Out
	}
	files := r.Files.Created + r.Files.Modified + r.Files.Deleted + r.Files.Renamed
	list := []stat{{number(r.launches()), "programs started", false}, {number(files), "files changed", false},
		{size(in + out), "with " + plural(int64(len(r.Hosts))+r.More["hosts"], "host"), false},
		{number(r.refused()), "refused", r.refused() > 0}, {r.costs(), "for models", false}}
	if r.Run.MaxRSS > 0 {
		list = append(list, stat{size(r.Run.MaxRSS), "largest process", false})
	}
	return list
}

// times gives the marks their places, between the first and the last moment of the run.
func (p *page) times(zone *time.Location) {
	start, end := p.R.Run.Started, max(p.R.Run.Ended, p.R.Run.Last)
	if t := p.R.Timeline; t != nil {
		start, end = t.Start, t.Start+t.Step*int64(len(t.Points))
	}
	if start == 0 || end < start {
		end = start
	}
	at := func(ms int64) string { return time.UnixMilli(ms).In(zone).Format("15:04:05") }
	p.From, p.Middle, p.To = at(start), at(start+(end-start)/2), at(end)
	lanes := map[string]int{"denied": 0, "finding": 1, "approval": 2, "state": 3}
	for _, m := range p.R.Marks {
		p.Marks = append(p.Marks, pageMark{m.Kind, m.Text, strconv.FormatInt(place(m.Time, start, end, 997), 10), lanes[m.Kind]*10 + 1})
	}
}

type pageMark struct {
	Kind, Text, X string
	Y             int
}

// place maps a time to a place from 0 to width.
func place(at, start, end, width int64) int64 {
	if end <= start {
		return 0
	}
	return int64(float64(min(max(at, start), end)-start) / float64(end-start) * float64(width))
}

func (p *page) hosts() {
	var most int64
	for _, h := range p.R.Hosts {
		most = max(most, h.In+h.Out)
	}
	for _, h := range p.R.Hosts {
		x := pageHost{Name: address(h.Name, h.Port), Says: h.talk()}
		if h.Inbound {
			x.Name += " from the host"
		}
		if most > 0 {
			x.Width = int64(float64(h.In+h.Out) / float64(most) * 100)
		}
		p.Hosts = append(p.Hosts, x)
	}
}

func (p *page) budgets() {
	for _, b := range p.R.Budgets {
		x := pageBudget{BudgetUse: b}
		x.Says, x.Percent = spent(b)
		x.Width = min(x.Percent, 100)
		switch {
		case x.Percent >= 100:
			x.Class = "bad"
		case x.Percent >= 80:
			x.Class = "warn"
		}
		p.Budgets = append(p.Budgets, x)
	}
}
