package netns

import (
	"fmt"
	"strings"

	"github.com/agentjail/agentjail/profiles"
)

// ResolvConf is the jail's /etc/resolv.conf. There is no search domain: a name is
// asked for as it was written, so that it means the same in the profile and here. A
// question that got lost is asked again after 2 seconds, not after the usual 5
// (resolv.conf(5)), for 10 in all as usual: the server is on the same machine.
func ResolvConf() string {
	return "# written by agentjail: names that the profile allows resolve, no other does\n" +
		"nameserver " + dnsAddr4.String() + "\n" +
		"options timeout:2 attempts:5\n"
}

// HostsFile is the jail's /etc/hosts. The jail's own name is its own address, so
// that programs which look themselves up find themselves.
func HostsFile(hostname string) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n")
	b.WriteString("::1\tlocalhost ip6-localhost ip6-loopback\n")
	if hostname != "" && hostname != "localhost" {
		fmt.Fprintf(&b, "%s\t%s\n", jailAddr4, hostname)
	}
	return b.String()
}

// Policy is the text of /run/agentjail/policy.md: the profile in words that a
// language model can act on. It says only what the agent could find out by trying.
func Policy(s *profiles.Spec) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }

	line("# What this jail allows")
	line("")
	line("You run inside agentjail, under the profile %s. What is not listed here is refused, and trying it", code(s.Name))
	line("again or in another way gives the same answer. Where you need more, say so to the person you work for:")
	line("the profile is theirs to change. Every attempt is recorded.")
	line("")

	line("## Files")
	line("")
	line("- Workspace: %s (%s).", code(s.Workspace.Path), workspaceMode(s.Workspace.Mode))
	patterns(&b, "Not there", s.Workspace.Hide)
	patterns(&b, "Readable", s.Files.Read)
	patterns(&b, "Readable and executable", s.Files.Exec)
	patterns(&b, "Writable", s.Files.Write)
	patterns(&b, "Refused", s.Files.Deny)
	line("- Your home and /tmp are fresh and vanish when the run ends.")
	for _, h := range s.Files.Home {
		line("- %s is there from the start (%s).", code("~/"+h.Path), h.Mode)
	}
	patterns(&b, "Kept as artifacts (relative to the workspace)", s.Artifacts.Collect)
	line("")

	line("## Network")
	line("")
	if len(s.Network.Allow)+len(s.Network.HostPorts) == 0 {
		line("There is no network beyond this jail's own loopback: names don't resolve, connections are refused.")
	} else {
		line("Connect as usual; no proxy setting is needed. Names that are allowed resolve to addresses that stand for")
		line("them in this jail only. UDP (but for DNS and what is listed as UDP) and ICMP are refused.")
		line("")
		for _, r := range s.Network.Allow {
			if r.Inactive != "" {
				line("- Refused in this run: %s: %s [%s]", hosts(r), r.Inactive, r.Origin)
				continue
			}
			line("- Allowed: %s, %s, %s%s", hosts(r), ports(r), protocol(r.Protocol), because(r))
			requests(&b, s, r)
		}
		if len(s.Network.Intercepts()) > 0 {
			line("")
			line("Where requests are listed, agentjail looks into TLS with a certificate authority that this jail's bundle of")
			line("certificates has. A refused request is answered with 403 and the reason, one over a limit with 429.")
		}
	}
	for _, r := range s.Network.HostPorts {
		line("- 127.0.0.1:%d is a server of the host's%s", r.Jail, portNote(r))
	}
	for _, r := range s.Network.Publish {
		line("- A server on port %d in here is reached by the host at its 127.0.0.1:%d%s", r.Jail, r.Host, portNote(r))
	}
	for _, r := range s.Network.Deny {
		line("- Refused whatever else allows it: %s, %s%s", hosts(r), ports(r), because(r))
	}
	line("")

	if len(s.Budgets) > 0 {
		line("## Budgets")
		line("")
		line("Some requests spend from a budget. Where it has too little left they are refused with 402, and nothing is sent;")
		line("each answer that was charged says in the header %s what is left, and so does /run/agentjail/budget.json.", code(budgetHeader))
		line("")
		for _, b := range s.Budgets {
			line("- %s: %s [%s]", code(b.Name), b.String(), b.Origin)
		}
		line("")
	}
	if a := s.SSHAgent; a != nil {
		line("## SSH agent")
		line("")
		limit := ""
		if a.Limit != nil {
			limit = fmt.Sprintf(", at most %s signatures", a.Limit.Rate)
		}
		line("$SSH_AUTH_SOCK lists and signs with %s%s%s. Keys can't be added or removed, and each signature is recorded.", keyNames(a), limit, because(profiles.NetRule{Reason: a.Reason, Origin: a.Origin}))
		line("")
	}

	line("## Limits")
	line("")
	limits(&b, s.Limits)
	return b.String()
}

// requests are the lines below a host: what may be asked, how often, and with which
// credential.
func requests(b *strings.Builder, s *profiles.Spec, r profiles.NetRule) {
	for _, q := range r.Requests {
		fmt.Fprintf(b, "  - %s %s", strings.Join(q.Methods, ", "), code(q.Path))
		if q.When != nil {
			fmt.Fprintf(b, ", when %s", code(q.When.Source))
		}
		if q.Limit != nil {
			fmt.Fprintf(b, ", at most %s", q.Limit.Rate)
		}
		for _, x := range q.Spend {
			fmt.Fprintf(b, ", spends from the budget %s", code(x.Budget))
		}
		if q.Reason != "" {
			fmt.Fprintf(b, " (%s)", oneLine(q.Reason))
		}
		fmt.Fprintf(b, " [%s]\n", q.Origin)
	}
	for _, name := range r.Secrets {
		x := s.Secret(name)
		switch {
		case x == nil:
		case x.AWS != nil:
			fmt.Fprintf(b, "  - $%s and $%s hold placeholders for the AWS key %s. Sign requests with them as ever: they are signed anew with the real key on the way.\n",
				x.AWS.AccessKeyEnv, x.Variable, code(name))
		case x.Inject:
			fmt.Fprintf(b, "  - The credential %s is added to each request; send none.\n", code(name))
		default:
			fmt.Fprintf(b, "  - $%s holds a placeholder for the credential %s. Send it in %s: the real one takes its place on the way. Anywhere else it is refused and reported.\n",
				x.Variable, code(name), secretPlace(x))
		}
	}
	for _, l := range []struct {
		what string
		n    int64
	}{{"uploaded", r.Upload}, {"downloaded", r.Download}} {
		if l.n > 0 {
			fmt.Fprintf(b, "  - At most %s %s per host in this run.\n", profiles.FormatSize(l.n), l.what)
		}
	}
	if r.Limit != nil {
		fmt.Fprintf(b, "  - At most %s per host.\n", r.Limit.Rate)
	}
	if r.Sanitize != "" {
		b.WriteString("  - HTML pages come without what a reader would not see: hidden text, comments, scripts, styles.\n")
	}
	if r.Connections > 0 {
		fmt.Fprintf(b, "  - At most %d connections per host at once.\n", r.Connections)
	}
}

func secretPlace(x *profiles.Secret) string {
	switch {
	case x.Query != "":
		return "the query parameter " + code(x.Query)
	case x.Basic != "":
		return "HTTP basic authentication"
	case x.Format != "":
		return "the header " + code(x.Header) + " as " + code(strings.Replace(x.Format, "%s", "$"+x.Variable, 1))
	}
	return "the header " + code(x.Header)
}

func patterns(b *strings.Builder, title string, ps []profiles.Pattern) {
	if len(ps) == 0 {
		return
	}
	var names []string
	for _, p := range ps {
		names = append(names, code(p.Pattern))
	}
	fmt.Fprintf(b, "- %s: %s.\n", title, strings.Join(names, ", "))
}

func workspaceMode(m profiles.Mode) string {
	switch m {
	case profiles.ModeOverlay:
		return "your changes are kept beside the host's files, which stay as they are"
	case profiles.ModeDirect:
		return "your changes are made to the host's own files; what the host executes or trusts (.git, editor and agent settings, build files) is read-only and can't be made anew (EPERM)"
	case profiles.ModeReadonly:
		return "read-only"
	case profiles.ModeEmpty:
		return "starts empty"
	}
	return string(m)
}

func hosts(r profiles.NetRule) string {
	var names []string
	for _, h := range r.Hosts {
		names = append(names, code(hostText(h)))
	}
	return strings.Join(names, ", ")
}

func hostText(h profiles.HostPattern) string {
	switch {
	case h.Kind == profiles.HostWildcard && h.Name == "":
		return "*"
	case h.Kind == profiles.HostWildcard:
		return "*." + h.Name
	case h.Kind == profiles.HostPrefix && h.Prefix.IsSingleIP():
		return h.Prefix.Addr().String()
	case h.Kind == profiles.HostPrefix:
		return h.Prefix.String()
	}
	return h.Name
}

func ports(r profiles.NetRule) string {
	if len(r.Ports) == 0 {
		return "every port"
	}
	var names []string
	for _, p := range r.Ports {
		names = append(names, fmt.Sprint(p))
	}
	if len(names) == 1 {
		return "port " + names[0]
	}
	return "ports " + strings.Join(names, ", ")
}

func protocol(p profiles.Protocol) string {
	switch p {
	case profiles.ProtocolTLS:
		return "TLS with the host's name as server name"
	case profiles.ProtocolHTTP:
		return "plain HTTP with the host's name in Host"
	case profiles.ProtocolSSH:
		return "SSH"
	case profiles.ProtocolTCP:
		return "any protocol over TCP"
	case profiles.ProtocolUDP:
		return "UDP"
	}
	return string(p)
}

func keyNames(a *profiles.SSHAgent) string {
	var names []string
	for _, k := range a.Keys {
		names = append(names, code(k.Pattern))
	}
	return strings.Join(names, ", ")
}

// portNote is what a port rule counts, why it is there and where it stands.
func portNote(r profiles.PortRule) string {
	s := ""
	if r.Limit != nil {
		s += fmt.Sprintf(", at most %s connections", r.Limit.Rate)
	}
	if r.Connections > 0 {
		s += fmt.Sprintf(", %d at once", r.Connections)
	}
	for _, l := range []struct {
		what string
		n    int64
	}{{"out", r.Upload}, {"in", r.Download}} {
		if l.n > 0 {
			s += fmt.Sprintf(", at most %s %s in this run", profiles.FormatSize(l.n), l.what)
		}
	}
	if r.Reason != "" {
		s += " (" + oneLine(r.Reason) + ")"
	}
	return s + " [" + r.Origin.String() + "]"
}

func because(r profiles.NetRule) string {
	s := ""
	if r.Reason != "" {
		s = " (" + oneLine(r.Reason) + ")"
	}
	if o := r.Origin.String(); o != "" {
		s += " [" + o + "]"
	}
	return s
}

func limits(b *strings.Builder, l profiles.Limits) {
	n := b.Len()
	row := func(what string, v *profiles.Limit, text func(*profiles.Limit) string) {
		if v != nil {
			fmt.Fprintf(b, "- %s: %s.\n", what, text(v))
		}
	}
	size := func(v *profiles.Limit) string { return fmt.Sprintf("%d bytes", v.Value) }
	count := func(v *profiles.Limit) string { return fmt.Sprint(v.Value) }
	wall := func(v *profiles.Limit) string { return v.Duration().String() }
	row("Memory", l.Memory, size)
	row("CPUs", l.CPUs, func(v *profiles.Limit) string { return fmt.Sprintf("%g", float64(v.Value)/1000) })
	row("Processes and threads at once", l.Processes, count)
	row("Open files of one process", l.OpenFiles, count)
	row("Time", l.Time, wall)
	row("Idle time", l.Idle, wall)
	row("Output", l.Output, size)
	if b.Len() == n {
		b.WriteString("The profile sets none.\n")
	}
}

// code puts a value of the profile between backquotes, as one line.
func code(s string) string { return "`" + strings.ReplaceAll(oneLine(s), "`", "'") + "`" }

// oneLine keeps a value from starting a line of its own in the text.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}
