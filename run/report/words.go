package report

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/agentjail/agentjail/audit"
)

// size is a number of bytes for people.
func size(n int64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	f := float64(n)
	for i := range len(units) {
		if f /= 1000; f < 999.95 || i == len(units)-1 {
			return strconv.FormatFloat(f, 'f', 1, 64) + " " + units[i:i+1] + "B"
		}
	}
	return ""
}

// number groups the digits of a count.
func number(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return number(n) + " " + what + "s"
}

// span is how long something took, as exact as anybody reads it.
func span(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	switch {
	case d < time.Second:
		return d.String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func clock(ms int64, zone *time.Location) string {
	if ms == 0 {
		return "unknown"
	}
	return time.UnixMilli(ms).In(zone).Format("2006-01-02 15:04:05")
}

// outcome says how a run ended.
func (r *Run) outcome() string {
	switch {
	case r.Ended == 0:
		return "has not ended, or was killed"
	case r.Signal != "":
		return "was ended by " + r.Signal
	case r.Reason == "exited" || r.Reason == "":
		return "exited " + strconv.Itoa(r.ExitCode)
	}
	return "was ended: " + r.Reason
}

func (r *Run) failed() bool { return r.Ended == 0 || r.ExitCode != 0 || r.Signal != "" }

// took is the run's length, as far as the trail knows.
func (r *Run) took() int64 { return max(max(r.Ended, r.Last)-r.Started, 0) }

// facts are what there is to say of a run on one line.
func (r *Report) facts() []string {
	var f []string
	add := func(format string, args ...any) { f = append(f, fmt.Sprintf(format, args...)) }
	if r.Run.Profile != "" {
		add("profile %s", r.Run.Profile)
	}
	if r.Run.Workspace != "" {
		add("%s of %s", r.Run.WorkspaceMode, r.Run.Workspace)
	}
	if r.Run.Mode != "" {
		add("%s", r.Run.Mode)
	}
	if r.Run.Kernel != "" {
		add("Linux %s", r.Run.Kernel)
	}
	trail := plural(r.Trail.Events, "event")
	if r.Trail.Verdict != "" {
		trail = r.Trail.Verdict + ", " + trail
	}
	if r.Trail.Broken > 0 {
		trail += ", " + plural(r.Trail.Broken, "unreadable line")
	}
	return append(f, "trail "+trail)
}

// files says how many files changed.
func (f *Files) summary() string {
	var parts []string
	for _, c := range []struct {
		n    int64
		what string
	}{{f.Created, "created"}, {f.Modified, "modified"}, {f.Deleted, "deleted"}, {f.Renamed, "renamed"}} {
		if c.n > 0 {
			parts = append(parts, number(c.n)+" "+c.what)
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// talk is what went to and from a host.
func (h *Host) talk() string {
	var parts []string
	add := func(n int64, what string) {
		if n > 0 {
			parts = append(parts, plural(n, what))
		}
	}
	add(h.Opened, "connection")
	add(h.Requests, "request")
	if h.Failed > 0 {
		parts = append(parts, number(h.Failed)+" failed")
	}
	if h.Refused > 0 {
		parts = append(parts, number(h.Refused)+" refused")
	}
	if h.In+h.Out > 0 {
		parts = append(parts, size(h.In)+" in, "+size(h.Out)+" out")
	}
	return strings.Join(parts, ", ")
}

// cost is what the calls of a model come to.
func cost(m audit.ModelUse) string {
	switch {
	case m.Calls == m.Unpriced:
		return "cost unknown"
	case m.Unpriced > 0:
		return "at least " + audit.Dollars(m.CostMicroUSD)
	}
	return audit.Dollars(m.CostMicroUSD)
}

func tokens(m audit.ModelUse) string {
	s := number(m.Input+m.CacheRead+m.CacheWrite) + " tokens in, " + number(m.Output) + " out"
	if m.Inexact > 0 {
		s += ", at least"
	}
	return s
}

// spent writes a budget's limit, and how much of it in hundredths.
func spent(b audit.BudgetUse) (text string, percent int64) {
	amount := func(n int64) string {
		if b.Unit == "usd" {
			return audit.Dollars(n)
		}
		return strings.TrimSpace(strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(audit.Dollars(n), "$"), "00"), ".") + " " + b.Unit)
	}
	if b.Of > 0 {
		percent = int64(float64(max(b.Spent, 0)) / float64(b.Of) * 100)
	} else {
		percent = 100
	}
	return amount(b.Spent) + " of " + amount(b.Of), min(percent, 999)
}

// refused is how many attempts a policy refused.
func (r *Report) refused() (n int64) {
	for _, d := range r.Denials {
		n += d.Count
	}
	return n
}

func (r *Report) launches() (n int64) {
	for _, p := range r.Programs {
		n += p.Launches
	}
	return n
}

// more says what a list leaves out.
func (r *Report) more(list string, shown, all int) string {
	n := int64(max(all-shown, 0)) + r.More[list]
	if n <= 0 {
		return ""
	}
	return number(n) + " more"
}

func launchWord(n int64) string {
	if n == 1 {
		return "1 launch"
	}
	return number(n) + " launches"
}
