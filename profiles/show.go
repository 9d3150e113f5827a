package profiles

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// originColumn is where the origins stand in WriteText's output: to the right of
// most lines, and on an 80-column screen.
const originColumn = 56

// WriteText writes a resolved profile as a profile, with each rule's origin as a
// comment behind it. What it writes loads again, to the same rules.
func WriteText(w io.Writer, s *Spec) error {
	t := &textWriter{w: bufio.NewWriter(w), network: &s.Network}
	t.printf("# %s, resolved. It stands on:", s.Name)
	for _, src := range s.Sources {
		t.printf("#   %s (%s) sha256:%s", src.File, printable(src.Path), src.SHA256)
	}
	if s.Description != "" {
		t.printf("description = %s", quote(s.Description))
	}
	t.printf("extends = []")

	t.open("workspace", s.Workspace.Origin)
	t.rule(Origin{}, "path  = %s", quote(s.Workspace.Path))
	t.rule(Origin{}, "mode  = %s", quote(string(s.Workspace.Mode)))
	t.rule(Origin{}, "upper = %s", quote(string(s.Workspace.Upper)))
	t.rule(Origin{}, "size  = %s", quote(FormatSize(s.Workspace.Size)))
	t.rule(Origin{}, "files = %d", s.Workspace.Files)
	t.patterns("hide", s.Workspace.Hide)
	t.close()

	t.open("files", Origin{})
	t.patterns("read", s.Files.Read)
	t.patterns("write", s.Files.Write)
	t.patterns("exec", s.Files.Exec)
	t.patterns("deny", s.Files.Deny)
	t.seeds(s.Files)
	t.close()

	t.open("network", Origin{})
	for _, r := range s.Network.Allow {
		t.netRule("allow", r)
	}
	for _, r := range s.Network.Ask {
		t.netRule("ask", r)
	}
	for _, r := range s.Network.Deny {
		t.netRule("deny", r)
	}
	for _, r := range s.Network.HostPorts {
		t.portRule("host_port", r)
	}
	for _, r := range s.Network.Publish {
		t.portRule("publish", r)
	}
	t.close()
	for _, x := range s.Secrets {
		t.secret(x)
	}
	for _, p := range s.Prices {
		t.price(p)
	}
	for _, b := range s.Budgets {
		t.budget(b)
	}
	t.sshAgent(s.SSHAgent)

	t.open("process", Origin{})
	t.patterns("pass_env", s.Process.PassEnv)
	t.list("env = {", "}", len(s.Process.Env), func(i int) (string, Origin) {
		v := s.Process.Env[i]
		return fmt.Sprintf("%s = %s", quote(v.Name), quote(v.Value)), v.Origin // in quotes, since a name may be HCL's own word "for"
	})
	t.execRules(s.Process)
	t.close()

	t.open("syscalls", Origin{})
	t.list("allow = [", "]", len(s.Syscalls), func(i int) (string, Origin) {
		return quote(s.Syscalls[i].Name) + ",", s.Syscalls[i].Origin
	})
	t.close()

	for _, e := range []Enforce{EnforceStrict, EnforceBestEffort} {
		t.limits(&s.Limits, e)
	}

	t.open("artifacts", s.Artifacts.Origin)
	t.patterns("collect", s.Artifacts.Collect)
	t.rule(Origin{}, "size = %s", quote(FormatSize(s.Artifacts.Size)))
	t.close()

	t.handOffs(s.Apply)

	t.open("audit", s.Audit.Origin)
	t.rule(Origin{}, "size = %s", quote(FormatSize(s.Audit.Size)))
	if s.Audit.OTLP != "" {
		t.printf("otlp = %s", quote(s.Audit.OTLP))
	}
	t.close()
	t.events(s)
	for _, x := range s.Tests {
		t.test(x)
	}
	t.ceiling(s)
	return t.w.Flush() // a bufio.Writer keeps its first error for this
}

type textWriter struct {
	w       *bufio.Writer
	indent  string
	network *Network // whose rules are written
}

func (t *textWriter) printf(format string, args ...any) {
	fmt.Fprintf(t.w, t.indent+format+"\n", args...)
}

// rule writes one line and its origin behind it.
func (t *textWriter) rule(o Origin, format string, args ...any) {
	line := t.indent + fmt.Sprintf(format, args...)
	if o != (Origin{}) {
		line += strings.Repeat(" ", max(1, originColumn-utf8.RuneCountInString(line))) + "# " + printable(o.String())
	}
	fmt.Fprintln(t.w, line)
}

func (t *textWriter) open(header string, o Origin) {
	if t.indent == "" {
		fmt.Fprintln(t.w)
	}
	t.rule(o, "%s {", header)
	t.indent += "  "
}

func (t *textWriter) close() {
	t.indent = t.indent[:len(t.indent)-2]
	t.printf("}")
}

func (t *textWriter) list(open, end string, n int, item func(int) (string, Origin)) {
	if n == 0 {
		t.printf("%s%s", open, end)
		return
	}
	t.printf("%s", open)
	t.indent += "  "
	for i := range n {
		s, o := item(i)
		t.rule(o, "%s", s)
	}
	t.indent = t.indent[:len(t.indent)-2]
	t.printf("%s", end)
}

func (t *textWriter) patterns(name string, list []Pattern) {
	t.list(name+" = [", "]", len(list), func(i int) (string, Origin) {
		return quote(list[i].Pattern) + ",", list[i].Origin
	})
}

func (t *textWriter) portRule(kind string, r PortRule) {
	t.open(kind+" "+quote(r.Label), r.Origin)
	if r.Reason != "" {
		t.printf("reason = %s", quote(r.Reason))
	}
	t.quota(r.Limit)
	t.caps(r.Upload, r.Download, r.Connections)
	t.close()
}

// caps writes what is counted in bytes and connections.
func (t *textWriter) caps(upload, download, connections int64) {
	for _, a := range []struct {
		name string
		size int64
	}{{"upload", upload}, {"download", download}} {
		if a.size != 0 {
			t.printf("%s = %s", a.name, quote(FormatSize(a.size)))
		}
	}
	if connections != 0 {
		t.printf("connections = %d", connections)
	}
}

func (t *textWriter) netRule(action string, r NetRule) {
	t.open(action+" "+quote(r.Label), r.Origin)
	t.cappedRule(action, &r)
	hosts := make([]string, len(r.Hosts))
	for i, h := range r.Hosts {
		hosts[i] = quote(h.String())
	}
	t.printf("hosts = [%s]", strings.Join(hosts, ", "))
	ports := make([]string, len(r.Ports))
	for i, p := range r.Ports {
		ports[i] = strconv.Itoa(int(p))
	}
	if len(ports) != 0 {
		t.printf("ports = [%s]", strings.Join(ports, ", "))
	}
	for _, a := range []struct{ name, value string }{
		{"protocol", string(r.Protocol)}, {"upstream", r.Upstream}, {"upstream_ca", r.UpstreamCA}, {"reason", r.Reason},
	} {
		if a.value != "" {
			t.printf("%s = %s", a.name, quote(a.value))
		}
	}
	if r.Approved {
		t.printf("approved = true")
	}
	if len(r.Secrets) > 0 {
		t.printf("secret = [secret.%s]", strings.Join(r.Secrets, ", secret."))
	}
	if r.Provider != "" {
		t.printf("provider = %s", quote(string(r.Provider)))
	}
	t.quota(r.Limit)
	t.caps(r.Upload, r.Download, r.Connections)
	if r.Sanitize != "" {
		t.printf("sanitize = %s", quote(string(r.Sanitize)))
	}
	for _, f := range r.Faults {
		t.fault(f)
	}
	for _, q := range r.Requests {
		t.open("request "+quote(strings.Join(q.Methods, "|"))+" "+quote(q.Path), q.Origin)
		if q.When != nil {
			t.printf("when = %s", q.When.Source)
		}
		t.quota(q.Limit)
		t.spends(q.Spend)
		if q.Ask {
			t.printf("ask = true")
		}
		if q.Reason != "" {
			t.printf("reason = %s", quote(q.Reason))
		}
		t.close()
	}
	t.close()
}

func (t *textWriter) fault(f Fault) {
	t.open("fault "+quote(string(f.Kind)), f.Origin)
	t.printf("rate = %s", strconv.FormatFloat(f.Rate, 'f', -1, 64))
	if f.Seed != nil {
		t.printf("seed = %d", *f.Seed)
	}
	switch f.Kind {
	case FaultStatus:
		t.printf("status = %d", f.Status)
		if f.Body != "" {
			t.printf("body = %s", quote(f.Body))
		}
	case FaultDelay:
		t.printf("delay = %s", quote(FormatDuration(f.Delay)))
	case FaultTruncate:
		t.printf("after = %s", quote(FormatSize(f.After)))
	case FaultReset:
	}
	t.close()
}

func (t *textWriter) quota(q *Quota) {
	if q != nil {
		t.rule(q.Origin, "limit = %s", quote(q.Rate.String()))
	}
}

func (t *textWriter) secret(x Secret) {
	t.open("secret "+quote(x.Name), x.Origin)
	for _, a := range []struct{ name, value string }{
		{"like", x.Like}, {"env", x.Env}, {"file", x.File}, {"variable", x.Variable}, {"header", x.Header}, {"format", x.Format}, {"query", x.Query}, {"basic", x.Basic},
	} {
		if a.value != "" {
			t.printf("%s = %s", a.name, quote(a.value))
		}
	}
	if len(x.Command) > 0 {
		t.printf("command = %s", quoteList(x.Command))
	}
	if x.Inject {
		t.printf("inject = true")
	}
	if x.Optional {
		t.printf("optional = true")
	}
	if a := x.AWS; a != nil {
		t.open("aws", Origin{})
		t.printf("access_key_env = %s", quote(a.AccessKeyEnv))
		if a.SessionTokenEnv != "" {
			t.printf("session_token_env = %s", quote(a.SessionTokenEnv))
		}
		t.close()
	}
	t.close()
}

func (t *textWriter) limits(l *Limits, e Enforce) {
	t.open("limits", Origin{})
	t.printf("enforce = %s", quote(string(e)))
	size := func(n int64) string { return quote(FormatSize(n)) }
	span := func(n int64) string { return quote(FormatDuration((&Limit{Value: n}).Duration())) }
	count := func(n int64) string { return strconv.FormatInt(n, 10) }
	cpus := func(n int64) string { return strconv.FormatFloat(float64(n)/1000, 'f', -1, 64) }
	for _, f := range []struct {
		name  string
		limit *Limit
		write func(int64) string
	}{
		{"memory", l.Memory, size},
		{"cpus", l.CPUs, cpus},
		{"processes", l.Processes, count},
		{"open_files", l.OpenFiles, count},
		{"time", l.Time, span},
		{"idle", l.Idle, span},
		{"output", l.Output, size},
		{"io_weight", l.IOWeight, count},
	} {
		if f.limit != nil && f.limit.Enforce == e {
			t.rule(f.limit.Origin, "%s = %s", f.name, f.write(f.limit.Value))
		}
	}
	t.close()
}

// quote writes a string as HCL does, its escapes and "${" included.
func quote(s string) string {
	return string(tokensOf(cty.StringVal(s)))
}

func tokensOf(v cty.Value) []byte { return hclwrite.TokensForValue(v).Bytes() }

func quoteList(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// printable keeps a file's name from ending the comment that it stands in.
func printable(s string) string {
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}
