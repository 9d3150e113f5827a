package profiles

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Spec is a resolved profile: every default filled in, every `extends` merged,
// every rule carrying the line it came from. It is plain data and survives a
// round trip through JSON (agentjail profile show --json).
//
// An empty list in it means nothing is allowed, never everything.
type Spec struct {
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Sources     []Source  `json:"sources"` // every file that was read, the profile itself first
	Workspace   Workspace `json:"workspace"`
	Files       Files     `json:"files"`
	Network     Network   `json:"network"`
	Secrets     []Secret  `json:"secrets"`
	SSHAgent    *SSHAgent `json:"ssh_agent,omitempty"`
	Budgets     []Budget  `json:"budgets"`
	Prices      []Price   `json:"prices"` // the profile's own, beside those that come with agentjail
	On          []On      `json:"on"`
	Process     Process   `json:"process"`
	Syscalls    []Syscall `json:"syscalls"` // opened beyond the base allowlist
	Limits      Limits    `json:"limits"`
	Artifacts   Artifacts `json:"artifacts"`
	Apply       Apply     `json:"apply"`
	Audit       Audit     `json:"audit"`
	Approval    Approval  `json:"approval"`
	Tests       []Case    `json:"tests"` // what `agentjail profile test` tries

	Ceiling        *Source    `json:"ceiling,omitempty"`         // that capped it
	SyscallCeiling *[]Syscall `json:"syscall_ceiling,omitempty"` // of Syscalls, those that are in it too are opened
}

// Source is one file that took part in a profile.
type Source struct {
	File    string `json:"file"`   // as diagnostics and origins name it
	Path    string `json:"path"`   // absolute path, or "built-in"
	SHA256  string `json:"sha256"` // of its bytes, hex
	Builtin bool   `json:"builtin,omitempty"`
}

// Origin is the place of a rule: the profile's base name and the line in it.
// Its text form, "web.hcl:14", is what every denial quotes.
type Origin struct {
	File string
	Line int
}

func (o Origin) String() string {
	if o.File == "" {
		return ""
	}
	return o.File + ":" + strconv.Itoa(o.Line)
}

// MarshalText implements encoding.TextMarshaler.
func (o Origin) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (o *Origin) UnmarshalText(b []byte) error {
	s := string(b)
	if s == "" {
		*o = Origin{}
		return nil
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return fmt.Errorf("origin %q is not FILE:LINE", s)
	}
	n, err := strconv.Atoi(s[i+1:])
	if err != nil {
		return fmt.Errorf("origin %q is not FILE:LINE", s)
	}
	*o = Origin{File: s[:i], Line: n}
	return nil
}

// Mode of the workspace.
type Mode string

// The workspace modes. Overlay is the default: the host's files are the lower
// layer and never change.
const (
	ModeOverlay  Mode = "overlay"
	ModeDirect   Mode = "direct"
	ModeReadonly Mode = "readonly"
	ModeEmpty    Mode = "empty"
)

// Upper says where an overlay keeps what the agent writes.
type Upper string

// The places of an overlay's upper layer. Auto tries memory and takes disk where
// the kernel's tmpfs can't carry an overlay in a user namespace (before Linux 6.6
// tmpfs has no user.* extended attributes).
const (
	UpperAuto   Upper = "auto"
	UpperMemory Upper = "memory"
	UpperDisk   Upper = "disk"
)

// Workspace is the tree that the agent works on.
type Workspace struct {
	Path   string    `json:"path"` // absolute and clean; symlinks are resolved by the caller of Load
	Mode   Mode      `json:"mode"`
	Upper  Upper     `json:"upper"`
	Size   int64     `json:"size"`             // bytes that the agent may add
	Files  int64     `json:"files"`            // files and folders that the agent may add
	Hide   []Pattern `json:"hide"`             // relative doublestar globs that do not exist in the jail
	Within string    `json:"within,omitempty"` // absolute; the ceiling's folder that it must lie in; see Lies
	Origin Origin    `json:"origin"`
}

// Pattern is one pattern with its origin.
type Pattern struct {
	Pattern string `json:"pattern"`
	Origin  Origin `json:"origin"`
}

// Files is what the jail sees of the host beside the workspace. Patterns are
// absolute doublestar globs, `~` already expanded. Deny wins over the rest.
type Files struct {
	Read  []Pattern `json:"read"`
	Write []Pattern `json:"write"`
	Exec  []Pattern `json:"exec"` // read and execute
	Deny  []Pattern `json:"deny"`

	Home   []HomeSeed  `json:"home"`   // what the fresh home folder begins with
	Limits []FileLimit `json:"limits"` // how often files may be acted on

	Ceiling *FilesCeiling `json:"ceiling,omitempty"` // must let it too
}

// Protocol is what may be spoken on a connection that a rule allows.
type Protocol string

// The protocols. TLS wants a ClientHello whose SNI is the name; HTTP wants a Host
// header that is the name; SSH wants an SSH identification line; TCP is opaque, and
// so is UDP, which the other four are not about: a rule is of one transport.
const (
	ProtocolTLS  Protocol = "tls"
	ProtocolHTTP Protocol = "http"
	ProtocolSSH  Protocol = "ssh"
	ProtocolTCP  Protocol = "tcp"
	ProtocolUDP  Protocol = "udp"
)

// Network is what the jail may reach. Deny beats ask beats allow, and what nothing
// matches is denied.
type Network struct {
	Allow []NetRule `json:"allow"`
	Ask   []NetRule `json:"ask"`
	Deny  []NetRule `json:"deny"`

	Ceiling *Network `json:"ceiling,omitempty"` // must allow it too: of the two verdicts, the stricter one counts
	Open    bool     `json:"open,omitempty"`    // of a ceiling that only denies: what it does not deny it allows

	HostPorts []PortRule `json:"host_ports"` // of the host's loopback, in the jail
	Publish   []PortRule `json:"publish"`    // of the jail's, on the host's loopback
}

// NetRule is one `allow`, `ask` or `deny` block of `network`.
type NetRule struct {
	Label      string        `json:"label"` // as written
	Hosts      []HostPattern `json:"hosts"`
	Ports      []uint16      `json:"ports"` // deny: empty means every port; allow: never empty
	Protocol   Protocol      `json:"protocol,omitempty"`
	Upstream   string        `json:"upstream,omitempty"`    // host:port dialled instead of the name
	UpstreamCA string        `json:"upstream_ca,omitempty"` // absolute path of a PEM file
	Reason     string        `json:"reason,omitempty"`
	Inactive   string        `json:"inactive,omitempty"` // why the rule lets nothing in this run; see Without
	Approved   bool          `json:"approved,omitempty"` // of an allow: a person said yes for good, and no ask is about it
	Origin     Origin        `json:"origin"`

	// What may be asked of the host: everything (AnyRequest), or what Requests name
	// and nothing else. It counts for TLS and HTTP; nobody looks into the rest.
	AnyRequest bool          `json:"any_request,omitempty"`
	Requests   []RequestRule `json:"requests,omitempty"`
	Secrets    []string      `json:"secrets,omitempty"`  // names of those that the host may get
	Provider   Provider      `json:"provider,omitempty"` // how its answers tell what they cost

	Limit       *Quota `json:"limit,omitempty"`       // requests of each host; connections (UDP: flows) where nobody looks into them
	Upload      int64  `json:"upload,omitempty"`      // bytes to each host in a run; 0: no cap
	Download    int64  `json:"download,omitempty"`    // bytes from each host in a run; 0: no cap
	Connections int64  `json:"connections,omitempty"` // to each host at once; 0: no cap

	Sanitize Sanitize `json:"sanitize,omitempty"` // what is taken out of answers
	Faults   []Fault  `json:"faults,omitempty"`   // in the order in which they are tried
}

// Sanitize is the kind of answers that are sanitized.
type Sanitize string

// SanitizeHTML takes out of HTML what a reader of the page would not see.
const SanitizeHTML Sanitize = "html"

// FaultKind is what goes wrong.
type FaultKind string

// The faults: the gateway answers in the host's place; waits before it asks the host;
// ends the connection unanswered; cuts the host's answer off.
const (
	FaultStatus   FaultKind = "status"
	FaultDelay    FaultKind = "delay"
	FaultReset    FaultKind = "reset"
	FaultTruncate FaultKind = "truncate"
)

// Fault is one `fault` block of an `allow`: something that goes wrong on purpose, so
// that it can be seen how the agent takes it.
type Fault struct {
	Kind   FaultKind     `json:"kind"`
	Rate   float64       `json:"rate"`           // share of the requests, above 0 and up to 1
	Seed   *int64        `json:"seed,omitempty"` // of the draw; nil: another one in each run
	Status int           `json:"status,omitempty"`
	Body   string        `json:"body,omitempty"`
	Delay  time.Duration `json:"delay,omitempty"`
	After  int64         `json:"after,omitempty"` // bytes of the answer's body that come through
	Origin Origin        `json:"origin"`
}

// RequestRule is one `request` block of an `allow`.
type RequestRule struct {
	Methods []string   `json:"methods"` // "*": every one
	Path    string     `json:"path"`    // a pattern; see MatchPath
	When    *Condition `json:"when,omitempty"`
	Limit   *Quota     `json:"limit,omitempty"` // of each host
	Spend   []Spend    `json:"spend,omitempty"` // by the budgets' names
	Ask     bool       `json:"ask,omitempty"`   // a person decides about each
	Reason  string     `json:"reason,omitempty"`
	Origin  Origin     `json:"origin"`
}

// Condition is the expression of a `when`, as source text in which variables are
// replaced by their values. Only `request` is left to refer to.
type Condition struct {
	Source string `json:"source"`
	Body   bool   `json:"body,omitempty"` // it refers to the body
	Origin Origin `json:"origin"`
}

// Quota is how often something may be done.
type Quota struct {
	Rate   Rate   `json:"rate"`
	Origin Origin `json:"origin"`
}

// Secret is a credential that the gateway puts into requests and the jail never
// holds. It comes from exactly one of Env, File and Command, and goes into exactly
// one of Header, Query and Basic, or signs requests as AWS says.
type Secret struct {
	Name    string   `json:"name"`
	Like    string   `json:"like,omitempty"`    // name in the ready list
	Env     string   `json:"env,omitempty"`     // a variable of the caller's
	File    string   `json:"file,omitempty"`    // absolute path
	Command []string `json:"command,omitempty"` // program and arguments, no shell

	Variable string `json:"variable,omitempty"` // that holds the placeholder in the jail; "" for none
	Header   string `json:"header,omitempty"`   // lower case
	Format   string `json:"format,omitempty"`   // of the header's value, with one "%s"
	Query    string `json:"query,omitempty"`    // parameter
	Basic    string `json:"basic,omitempty"`    // user name of HTTP basic authentication
	Inject   bool   `json:"inject,omitempty"`   // also into requests that have none
	Optional bool   `json:"optional,omitempty"` // what names it is not in force where it is not there
	AWS      *AWS   `json:"aws,omitempty"`
	Origin   Origin `json:"origin"`
}

// AWS says that a secret is an AWS secret access key, which is never sent but signs
// requests (Signature Version 4), and where what belongs to it comes from. The jail
// has placeholders of these in variables of the same names.
type AWS struct {
	AccessKeyEnv    string `json:"access_key_env"`
	SessionTokenEnv string `json:"session_token_env,omitempty"`
}

// HostKind tells the three forms of a host pattern apart.
type HostKind string

// The kinds of host pattern.
const (
	HostExact    HostKind = "exact"    // one name
	HostWildcard HostKind = "wildcard" // "*.example.com": one or more labels below, not the apex; "*": every name
	HostPrefix   HostKind = "prefix"   // IP address or CIDR
)

// HostPattern is a canonical host pattern: lower case, A-labels (IDNA), no
// trailing dot; an address as a prefix.
type HostPattern struct {
	Kind   HostKind     `json:"kind"`
	Name   string       `json:"name,omitempty"`   // exact: the name; wildcard: what follows "*." ("" for "*")
	Prefix netip.Prefix `json:"prefix,omitempty"` // prefix: masked, IPv4-mapped unmapped
}

// Process is the agent's environment, and the programs that it starts. What may be
// executed at all is for Files to say; these rules refuse, ask and count beyond it.
type Process struct {
	PassEnv []Pattern `json:"pass_env"` // names taken from the caller's environment; "LC_*" is a glob
	Env     []EnvVar  `json:"env"`      // set, sorted by name

	Deny     []ExecRule `json:"deny"`
	Ask      []ExecRule `json:"ask"`
	Limit    []ExecRule `json:"limit"`
	Approved []ExecRule `json:"approved"` // what Ask does not ask about any more
	ExecNew  ExecNew    `json:"exec_new"` // programs that the agent wrote itself

	Terminal Terminal `json:"terminal"` // what it writes to the caller's terminal
}

// Terminal says what becomes of sequences for the caller's terminal that do more than to
// draw on the screen.
type Terminal string

// The answers: they are taken out, or they are passed as they are. The empty one, of a
// profile that an older agentjail wrote down, filters.
const (
	TerminalFilter Terminal = "filter"
	TerminalPass   Terminal = "pass"
)

// EnvVar is a variable that the profile sets.
type EnvVar struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Origin Origin `json:"origin"`
}

// Syscall opens one call ("ptrace") or a named group ("@ptrace").
type Syscall struct {
	Name   string `json:"name"`
	Origin Origin `json:"origin"`
}

// Enforce says what happens when the host can't enforce a limit.
type Enforce string

// Strict refuses the run; best-effort lets rlimits and sampling stand in, and the
// trail's first event says so.
const (
	EnforceStrict     Enforce = "strict"
	EnforceBestEffort Enforce = "best-effort"
)

// Limit is one limit; what Value counts is said by the field of Limits that holds it.
type Limit struct {
	Value   int64   `json:"value"`
	Enforce Enforce `json:"enforce"`
	Origin  Origin  `json:"origin"`
}

// Limits of a run. A nil field is no limit of the profile's.
type Limits struct {
	Memory    *Limit `json:"memory,omitempty"`     // bytes
	CPUs      *Limit `json:"cpus,omitempty"`       // thousandths of a CPU
	Processes *Limit `json:"processes,omitempty"`  // processes and threads at once
	OpenFiles *Limit `json:"open_files,omitempty"` // descriptors of one process
	Time      *Limit `json:"time,omitempty"`       // nanoseconds of wall time
	Idle      *Limit `json:"idle,omitempty"`       // nanoseconds without output and without CPU use
	Output    *Limit `json:"output,omitempty"`     // bytes of stdout and stderr together
	IOWeight  *Limit `json:"io_weight,omitempty"`  // share of a busy disk, 10 to 1000; others have 100
}

// Duration is the value of a time limit.
func (l *Limit) Duration() time.Duration { return time.Duration(l.Value) }

// Artifacts is what is kept of a run.
type Artifacts struct {
	Collect []Pattern `json:"collect"` // doublestar globs relative to the workspace
	Size    int64     `json:"size"`    // bytes in all
	Origin  Origin    `json:"origin"`
}

// Audit configures the trail.
type Audit struct {
	Size   int64  `json:"size"`           // bytes of audit.jsonl
	OTLP   string `json:"otlp,omitempty"` // URL of a collector that gets the same events
	Origin Origin `json:"origin"`
}
