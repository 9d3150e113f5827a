package audit

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Style says how events are shown to people.
type Style struct {
	Color    bool
	Location *time.Location // of the times; UTC if nil
}

// A View is an event in the words of a person: what was done, to what, by whom,
// what came of it, and which rule said so. Its texts are as the event has them,
// not yet safe for a terminal.
type View struct {
	Kind    string // "exec", "connect", "dns", "file", "live" ...
	Verdict string // "allowed", "blocked", "failed"; empty where there was none
	Target  string
	By      string // the program
	Rule    string
	Reason  string
	Count   int64 // how many attempts this stands for
}

// View puts an event into a person's words.
func (e Event) View() View {
	v := View{Rule: e.Policy.UID, Reason: e.StatusDetail, Count: max(e.Count, 1), By: e.Actor.Process.String()}
	switch e.DispositionID {
	case 1:
		v.Verdict = string(Allowed)
	case 2:
		v.Verdict = string(Blocked)
	case 27:
		v.Verdict = string(Failed)
	}
	host := target(e.Dst.Hostname, e.Dst.IP, e.Dst.Port)
	switch e.TypeUID {
	case 600203:
		v.Kind, v.Target = "start", e.commandLine()
	case 600204:
		v.Kind, v.Target, v.Reason = "end", e.StatusDetail, "exit code "+strconv.Itoa(e.exitCode())
	case 600202:
		v.Kind, v.Target = "wipe", e.Status
	case 600299:
		v.Kind, v.Target = e.stateView()
	case 100701:
		v.Kind = "exec"
		v.Target = cmp.Or(e.Process.CommandLine, e.Process.Path, e.Process.Name) + pidText(Process{PID: e.Process.PID})
		v.By = ""
	case 100702:
		v.Kind, v.Target = "exit", e.Process.String()+": "+strconv.Itoa(e.ExitCode)
		v.By = ""
	case 400101, 400104, 400105:
		v.Kind, v.Target = "connect", host+" ("+e.Connection.Protocol+")"
		if e.Connection.Direction == "Inbound" {
			v.Target += " from the host"
		}
	case 400102:
		v.Kind = "close"
		v.Target = fmt.Sprintf("%s, %d bytes out, %d in", host, e.Traffic.BytesOut, e.Traffic.BytesIn)
	case 400301:
		v.Kind, v.Target = "dns", e.Query.Type+" "+e.Query.Hostname+" "+e.RCode
	case 400201, 400202, 400203, 400204, 400205, 400206, 400207, 400208, 400209, 400299:
		v.Kind, v.Target = "http", e.httpView()
	case 600301:
		v.Kind, v.Target = "model", e.modelView()
	case 600399:
		if target, ok := e.signatureView(); ok {
			v.Kind, v.Target = "sign", target
			break
		}
		v.Kind, v.Target = "tool", e.API.Operation+" asked for by "+e.Model.Name
	case 100101, 100103, 100104:
		v.Kind, v.Target = e.fileKind(), strings.ToLower(e.ActivityName)+" "+e.File.Path
	case 100105:
		v.Kind, v.Target = e.fileKind(), "rename "+e.File.Path+" to "+e.FileResult.Path
	case 100199:
		v.Kind, v.Target = e.fileKind(), e.Message
	case 300501, 300502, 300599:
		v.Kind, v.Target = "approval", e.approvalView()
	case 200401:
		v.Kind, v.Target, v.Reason = "finding", e.Finding.Title, e.Finding.Desc
	default:
		v.Kind, v.Target = strconv.FormatInt(e.TypeUID, 10), e.Message
	}
	return v
}

// String names a process: its program and its pid.
func (p EventProcess) String() string {
	name := cmp.Or(p.Name, p.Path)
	if name == "" && p.PID == 0 {
		return ""
	}
	return cmp.Or(name, "process") + pidText(Process{PID: p.PID})
}

// commandLine of a run, which is among what the schema has no attribute for.
func (e Event) commandLine() string {
	var u struct {
		Argv []string `json:"argv"`
	}
	if json.Unmarshal(e.Unmapped, &u) != nil || len(u.Argv) == 0 {
		return e.App.Name
	}
	return commandLine(u.Argv)
}

// exitCode of a run.
func (e Event) exitCode() int {
	var u struct {
		ExitCode int `json:"exit_code"`
	}
	if json.Unmarshal(e.Unmapped, &u) != nil {
		return 0
	}
	return u.ExitCode
}

// Render writes one event as one line: time, kind, verdict, what, by whom, rule,
// why. Whatever came from the jail is quoted if it has anything in it that is not
// printed as it is.
func Render(w io.Writer, e Event, style Style) error {
	location := cmp.Or(style.Location, time.UTC)
	at := time.UnixMilli(e.Time).In(location).Format("15:04:05.000")
	v := e.View()

	var b strings.Builder
	fmt.Fprintf(&b, "%s %-8s", at, Printable(v.Kind))
	verdict := v.Verdict
	if v.Kind == "finding" && e.SeverityID >= 4 {
		verdict = "ALERT"
	}
	b.WriteString(style.paint(verdict, fmt.Sprintf(" %-8s ", verdict)))
	b.WriteString(Printable(v.Target))
	if v.By != "" {
		b.WriteString(" by " + Printable(v.By))
	}
	if v.Count > 1 && e.TypeUID != 100199 { // whose text says so
		fmt.Fprintf(&b, " ×%d", v.Count)
	}
	if v.Rule != "" {
		b.WriteString(" rule " + Printable(v.Rule))
	}
	if v.Reason != "" {
		b.WriteString(": " + Printable(v.Reason))
	}
	b.WriteByte('\n')
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("show an event: %w", err)
	}
	return nil
}

// paint colours a verdict (ECMA-48 SGR: 31 red, 32 green, 33 yellow).
func (s Style) paint(verdict, text string) string {
	if !s.Color {
		return text
	}
	switch verdict {
	case string(Blocked), "ALERT":
		return "\x1b[31m" + text + "\x1b[0m"
	case string(Allowed):
		return "\x1b[32m" + text + "\x1b[0m"
	case string(Failed):
		return "\x1b[33m" + text + "\x1b[0m"
	default:
		return text
	}
}

// Printable gives a text as it is if every character of it is one that is simply
// shown, and quoted as in Go otherwise: control characters, and those that only
// change how others are shown (as U+202E, which reverses them: CVE-2021-42574).
func Printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == '\ufffd' }) < 0 {
		return s
	}
	return strconv.Quote(s)
}
