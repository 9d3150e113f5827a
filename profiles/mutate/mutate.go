//go:build mutate

package mutate

import (
	"os"
	"slices"
	"strings"
)

// Variable names the layers that are off, with commas between them.
const Variable = "AGENTJAIL_MUTATE"

// Names are what the variable calls the layers.
var Names = [layers]string{
	Landlock: "landlock", Seccomp: "seccomp", ForeignABI: "foreign-abi", Ioctl: "ioctl", Sockets: "sockets", Namespaces: "namespaces", Calls: "calls",
	InnerUser: "inner-user", Caps: "caps", NoNewPrivs: "no-new-privs", Masks: "masks", ReadOnly: "read-only", HidePID: "hidepid",
	HostTree: "host-tree", Denied: "denied", Overlay: "overlay", HostSockets: "host-sockets", NetNS: "netns", IPCNS: "ipcns",
	Environment: "environment", Descriptors: "descriptors", Exec: "exec", SNI: "sni", Host: "host", Respelling: "respelling", Framing: "framing", Requests: "requests",
	Addresses: "addresses", Placeholder: "placeholder", Binding: "binding", Masking: "masking",
	Cgroup: "cgroup", Rlimits: "rlimits", Disk: "disk", ExecRules: "exec-rules", FileLimits: "file-limits",
	NetDeny: "net-deny", Spelling: "spelling", Ceiling: "ceiling", Seeds: "seeds", SeedLinks: "seed-links", Redact: "redact",
	FileWatch: "file-watch", Naming: "naming", Early: "early", Terminal: "terminal",
	Asking: "asking", ControlPeer: "control-peer",
}

// Off says whether a layer is switched off.
func Off(l Layer) bool { return slices.Contains(strings.Split(os.Getenv(Variable), ","), Names[l]) }

// Any says whether one is.
func Any() bool { return os.Getenv(Variable) != "" }

// Environ is what a process of ours hands to the next one.
func Environ() []string { return []string{Variable + "=" + os.Getenv(Variable)} }
