package attacks

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Attack is one way to try to get out.
type Attack struct {
	ID    string // lower case letters, digits and hyphens
	Line  int    // of the list of escapes
	What  string // what it wants, for people
	Class string // CVE numbers, or the class of mistakes

	Try func(*Target) string

	// Without says how it is tried without a jail, to know whether it means anything on
	// this host. Look stands in for Try where that would touch more than canaries.
	Without Without
	Look    func(*Target) string

	// Stopped are the answers that a jail may give, each with the layer whose answer it
	// is. Any other one is an escape.
	Stopped []Stop

	// Mark alone decides: whatever was answered, it is an escape exactly where the mark
	// turned up on a canary.
	ByMark bool

	// Calls are the system calls that it needs; a profile that opens one of them has
	// decided otherwise.
	Calls []string

	// Record is what the trail must say of it, since a policy decided.
	Record *Record

	// Network attacks need the stage whose network is made for them.
	Network bool

	// Needs names what a host must have for it, by what Target says; nil for nothing.
	Needs func(*Target) string
}

// Stop is a layer and the answers that are its own.
type Stop struct {
	Layer   string
	Answers []string
}

// Record is a line of the trail: the kind and verdict of audit.View, and a text that
// the event must have in it ("MARK" stands for the attack's mark).
type Record struct {
	Kind    string
	Verdict string
	Text    string
}

// Without is how an attack is tried without a jail.
type Without int

// The ways to try an attack without a jail.
const (
	Plain  Without = 1 << iota // as the caller: it touches canaries or its own process only
	Nested                     // as root of user, mount and network namespaces made for it
	Looked                     // Look instead: does what it is aimed at exist here? Without a Look it does
	Inside                     // what it is aimed at exists in jails only; Try answers "absent" where it does not
)

// The layers, as the report names them.
const (
	FileView    = "file view"
	ReadOnly    = "read-only mount"
	Overlay     = "overlay"
	Landlock    = "Landlock"
	Seccomp     = "seccomp"
	NetNS       = "network namespace"
	PidNS       = "pid namespace"
	IPCNS       = "ipc namespace"
	UserNS      = "user namespaces"
	ProcMask    = "masks over /proc"
	HidePID     = "hidepid"
	NoNewPrivs  = "no_new_privs, nosuid"
	Environment = "environment"
	Descriptors = "descriptors"
	Names       = "gateway: names"
	SNI         = "gateway: TLS name"
	HostHeader  = "gateway: HTTP host"
	Framing     = "gateway: HTTP framing"
	Requests    = "gateway: request rules"
	Addresses   = "gateway: addresses"
	Secrets     = "gateway: secrets"
	Stage       = "agent's stage"
	Rlimits     = "limits"
	Cgroup      = "cgroup"
	Disk        = "size of the upper layer"
	Sampler     = "samples of the upper layer on disk"
	Exec        = "exec notification"
	Wipe        = "wipe"
	Artifacts   = "artifacts"
	Gate        = "gate of apply"
	Direct      = "gate of direct mode"
	Trail       = "trail"
	CommandLine = "command line"
	Rules       = "rules of the profile"
	Ceiling     = "ceiling"
	Seeds       = "seeds of the home folder"
	ControlPeer = "control socket: who is at the other end"
	Approval    = "approvals"
	Archive     = "archive of a frozen run"
	Metrics     = "metrics' port"
	Collector   = "way to the collector"
	Screen      = "filter of terminal output"
)

// by is a layer with its answers.
func by(layer string, answers ...string) Stop { return Stop{layer, answers} }

// Layer finds the layer that an answer is of; "" for an answer that none gives.
func (a Attack) Layer(answer string) string {
	for _, s := range a.Stopped {
		if slices.Contains(s.Answers, answer) {
			return s.Layer
		}
	}
	return ""
}

// Group is the letter of the list of escapes.
func (a Attack) Group() string { return GroupOf(a.Line) }

// GroupOf is the group of a line of the list of escapes.
func GroupOf(line int) string {
	for i, last := range []int{15, 24, 38, 45, 59, 63, 72, 75, 78, 81} {
		if line <= last {
			return string(rune('A' + i))
		}
	}
	return "?"
}

// All are the attacks, in the order of the list and then of their names.
func All() []Attack {
	all := slices.Concat(files(), readonlyFiles(), setup(), procs(), kernel(), namespaces(), calls(), sockets(), abis(), threads(), ipc(),
		addresses(), names(), requests(), secrets(), limits(), life(), rules())
	slices.SortFunc(all, func(a, b Attack) int { return cmp.Or(a.Line-b.Line, strings.Compare(a.ID, b.ID)) })
	return all
}

const markBefore, markAfter = "ajx-", "-xja"

// Mark is what an attack leaves behind, to be known by. It is a valid part of a file's
// name, a host's name and an HTTP path.
func Mark(id string) string { return markBefore + id + markAfter }

var marks = regexp.MustCompile(markBefore + `([a-z0-9-]{1,48}?)` + markAfter)

// Marks are the attacks whose mark is in a text.
func Marks(text string) []string {
	var ids []string
	for _, m := range marks.FindAllStringSubmatch(strings.ToLower(text), -1) {
		if !slices.Contains(ids, m[1]) {
			ids = append(ids, m[1])
		}
	}
	return ids
}

// Mark is the running attack's.
func (t *Target) Mark() string { return Mark(t.running) }

// sprint is a path or text made of the target.
func sprint(format string, args ...any) string { return fmt.Sprintf(format, args...) }
