package suite

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A mutation is a layer that is switched off (package profiles/mutate), and the attacks
// that escape then.
type mutation struct {
	layer   string
	with    string   // layers that stop the same attacks, with commas: both must be off
	attacks []string // every one of these escapes
	why     string   // of with, or of no attacks
	only    string   // "root" or "rootless" jails; "" for both
}

// mutations has every layer that can be switched off. Layers that others double are
// tried alone, where nothing may escape, and together with those.
var mutations = []mutation{
	{layer: "landlock", attacks: []string{"landlock-only", "own-landlock"}},
	{layer: "seccomp", attacks: []string{"unshare-user", "keyctl", "io-uring-setup", "tiocsti", "af-packet", "int80", "ptrace", "personality", "mptcp", "unknown-call"}},
	{layer: "foreign-abi", attacks: []string{"int80", "int80-socketcall", "x32", "x32-unshare"}},
	{layer: "ioctl", attacks: []string{"tiocsti", "tiocsti-high", "tiocsti-high-all", "tioclinux", "tioclinux-high"}},
	{layer: "sockets", attacks: []string{"af-packet", "af-packet-high", "netlink-xfrm", "netlink-netfilter", "mptcp", "sctp", "udplite"}},
	{layer: "namespaces", attacks: []string{"unshare-user", "clone-user", "clone3-user", "fsopen", "open-tree", "name-to-handle", "own-filter"}},
	{layer: "calls", attacks: []string{"keyctl", "add-key", "perf-event-open", "userfaultfd", "io-uring-setup", "ptrace", "process-vm-readv", "pidfd-getfd", "kcmp"}},
	{layer: "inner-user", attacks: []string{"setuid-call"}, only: "rootless"},
	{layer: "inner-user", only: "root", why: "the agent has no capability, and its uid is of a range that nobody uses: nothing of the outer namespace is its own"},
	{layer: "caps", attacks: []string{"threads", "threads-exec"}},
	{layer: "no-new-privs", attacks: []string{"threads", "threads-exec"}},
	{layer: "masks", attacks: []string{"interrupts", "kallsyms"}},
	{layer: "read-only", with: "host-sockets", attacks: []string{"readonly-write", "readonly-rename", "readonly-chmod"}, why: "the overlay that keeps the host's sockets away has no upper layer to write to"},
	{layer: "hidepid", with: "landlock,inner-user", attacks: []string{"pid1-environ", "pid1-maps", "pid1-root"}, only: "rootless",
		why: "Landlock lets nobody look into a process outside of its domain, and PID 1 is in another user namespace"},
	{layer: "hidepid", with: "landlock", only: "root", why: "PID 1 is another user of the host than the agent"},
	{layer: "host-tree", attacks: []string{"setup-tree"}},
	{layer: "host-tree", with: "landlock", attacks: []string{"setup-tree-key"}, only: "rootless", why: "no rule of Landlock's grants it: the tree can be listed and not read"},
	// Where the key lies in a folder of root's alone, its mode stops the agent too.
	{layer: "host-tree", with: "landlock", only: "root", why: "the agent is another user of the host, and no rule of Landlock's grants it"},
	{layer: "denied", attacks: []string{"denied-direct", "denied-dotdot", "denied-self-root", "denied-symlink", "denied-dev-fd", "denied-thread-root", "denied-cwd", "denied-host-symlink", "seed-denied"}},
	{layer: "overlay", attacks: []string{"workspace-write", "second-run"}},
	{layer: "host-sockets", attacks: []string{"socket-granted", "socket-granted-datagram"}},
	{layer: "netns", attacks: []string{"loopback-tcp", "loopback-udp", "metadata-aws", "private-rfc1918", "private-another", "udp-dns", "form-mapped", "dot", "metrics-inside", "collector"}},
	{layer: "netns", with: "landlock", attacks: []string{"abstract-socket"}, why: "Landlock's scope has abstract sockets too (Linux 6.12)"},
	{layer: "ipcns", attacks: []string{"shared-memory", "message-queue"}},
	{layer: "environment", attacks: []string{"environment", "environment-known"}},
	{layer: "descriptors", why: "every descriptor of ours closes on exec, and libcontainer closes all others when it starts PID 1"},
	{layer: "exec", attacks: []string{"exec-recorded", "exec-memfd", "exec-proc-self"}},
	{layer: "sni", attacks: []string{"sni-none", "sni-other", "rule-name-tls"}},
	{layer: "host", with: "respelling", attacks: []string{"host-other", "host-plain"}, why: "what goes to the host has the name that was judged, whatever the request said"},
	{layer: "host", attacks: []string{"metrics-rebinding"}},
	{layer: "respelling", with: "host", attacks: []string{"host-other", "host-plain"}, why: "another Host is refused before"},
	{layer: "framing", with: "requests", attacks: []string{"smuggle-cl-te", "smuggle-bare-lf"}, why: "net/http reads one request at a time, and each is judged: what is smuggled is refused for its path"},
	{layer: "requests", attacks: []string{"path-refused", "method-refused", "keep-alive", "smuggle-path-dotdot", "smuggle-path-encoded", "smuggle-method-override"}},
	{layer: "addresses", attacks: []string{"rebind-private", "rebind-metadata", "rebind-loopback", "rebind-mixed", "rebind-second", "rebind-cname", "rebind-v6", "rebind-host", "rule-address-name", "rule-address-cname"}},
	{layer: "placeholder", attacks: []string{"secret-environment", "secret-files", "secret-other-host", "secret-body", "secret-query", "secret-redirect"}},
	{layer: "binding", attacks: []string{"secret-other-host", "secret-other-header", "secret-plain"}},
	{layer: "masking", attacks: []string{"secret-echo-header", "secret-echo-body", "secret-echo-gzip", "secret-echo-chunk", "secret-echo-error", "archive"}},
	{layer: "asking", attacks: []string{"ask-unanswered"}},
	{layer: "cgroup", attacks: []string{"limit-memory"}},
	{layer: "cgroup", with: "rlimits", attacks: []string{"limit-processes"}, why: "with best-effort a limit of the user's processes stands beside the cgroup's"},
	{layer: "rlimits", attacks: []string{"limit-open-files"}},
	{layer: "disk", attacks: []string{"limit-disk", "limit-files", "limit-disk-sampled", "limit-files-sampled"}},
	{layer: "exec-rules", attacks: []string{"exec-denied", "program-copy", "program-symlink", "program-hard-link", "program-script", "program-loader", "program-memory", "program-self", "program-alias", "program-wrapper"}},
	{layer: "file-limits", attacks: []string{"limit-deletions"}},
	{layer: "net-deny", attacks: []string{"rule-name", "rule-name-case", "rule-name-dot", "rule-name-idna", "rule-name-idna-case", "rule-name-raw", "rule-address", "rule-address-mapped", "rule-address-name"}},
	{layer: "spelling", attacks: []string{"rule-name-idna", "rule-name-raw"}},
	{layer: "ceiling", attacks: []string{"ceiling-files", "ceiling-workspace", "ceiling-variables", "ceiling-network", "ceiling-programs"}},
	{layer: "naming", attacks: []string{"direct-names"}},
	{layer: "early", with: "naming", attacks: []string{"direct-folders"}, why: "the agent is asked about each name before it gives it"},
	{layer: "seeds", attacks: []string{"seed-copy", "seed-overlay", "seed-readonly"}},
	{layer: "seed-links", attacks: []string{"seed-links"}},
	{layer: "redact", attacks: []string{"seed-credentials"}},
	{layer: "file-watch", why: "it sees and stops nothing; TestJailFilesSeen fails without it"},
	{layer: "terminal", attacks: []string{"terminal-clipboard", "terminal-title", "terminal-query", "terminal-controls", "terminal-printer"}},
	{layer: "control-peer", attacks: []string{"control-namespace"}},
	{layer: "control-peer", with: "host-tree", attacks: []string{"control-inside"}, only: "rootless", why: "the control socket's folder is not in the file view, and it has no other name"},
}

func mutated(t *testing.T) string {
	return program(t, "AGENTJAIL_MUTATE_BIN", "agentjail-mutate", "1", "-tags", buildTags+" mutate", "-ldflags", "-s -w -linkmode external -extldflags -static", ".")
}

// TestMutations: where a layer is missing, attacks escape, so that the suite would see
// it; and a layer that is said to double another one does.
func TestMutations(t *testing.T) {
	broken := mutated(t)
	mode := "rootless"
	if privileged() {
		mode = "root"
	}
	for _, m := range mutations {
		if m.only != "" && m.only != mode {
			continue
		}
		t.Run(strings.Trim(m.layer+","+m.with, ","), func(t *testing.T) {
			t.Parallel()
			args := []string{}
			for _, id := range m.attacks {
				args = append(args, "--attack", id)
			}
			if len(args) == 0 {
				args = []string{"--group", "A"}
			}
			if m.with != "" || len(m.attacks) == 0 {
				r, _ := perform(t, broken, []string{"AGENTJAIL_MUTATE=" + m.layer}, args...)
				for _, x := range r.Results {
					// A refusal in the words of the layer behind is no escape.
					if x.Verdict == Escaped && (x.Answer == "ok" || x.Why == "its mark is on a canary of the host") {
						t.Errorf("%s escapes without %s alone, which %s should double: %+v", x.Attack, m.layer, m.with, x)
					}
				}
			}
			if len(m.attacks) == 0 {
				return
			}
			env := []string{"AGENTJAIL_MUTATE=" + strings.Trim(m.layer+","+m.with, ",")}
			if mode == "root" {
				// What PID 1 does itself where a layer is missing (seed-links), it does as a
				// user of the jail's, who does not get to the canaries through a folder of root's.
				env = append(env, "TMPDIR=/tmp")
			}
			r, code := perform(t, broken, env, args...)
			for _, id := range m.attacks {
				i := slices.IndexFunc(r.Results, func(x Result) bool { return x.Attack == id })
				switch {
				case i < 0:
					t.Errorf("there is no result of %s", id)
				case r.Results[i].Verdict == Moot:
					t.Logf("%s is not meaningful here: %s", id, r.Results[i].Why)
				case !r.Results[i].Verdict.Failed() || code != ExitEscape:
					t.Errorf("without the layer %s %s is still %s by %s (answer %q, exit code %d)", m.layer, id, r.Results[i].Verdict, r.Results[i].Layer, r.Results[i].Answer, code)
				}
			}
		})
	}
}

// TestMutationsControl: with nothing switched off, the build for mutations is as tight as
// the other one.
func TestMutationsControl(t *testing.T) {
	r, _ := perform(t, mutated(t), nil, "--group", "C", "--group", "F")
	for _, x := range r.Results {
		if x.Verdict.Failed() {
			t.Errorf("%+v", x)
		}
	}
}

// layerNames are those that package mutate can switch off.
func layerNames(t *testing.T) []string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(root, "profiles", "mutate", "mutate.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(source), "var Names")
	table, _, _ = strings.Cut(table, "\n}\n")
	var names []string
	for _, m := range regexp.MustCompile(`: "([a-z-]+)"`).FindAllStringSubmatch(table, -1) {
		names = append(names, m[1])
	}
	if len(names) < 30 {
		t.Fatalf("the layers' names: %q", names)
	}
	return names
}

// TestMutationsOfEveryLayer: no layer that can be switched off is left out above, and
// none has neither attacks nor a reason.
func TestMutationsOfEveryLayer(t *testing.T) {
	names := layerNames(t)
	for _, name := range names {
		if !slices.ContainsFunc(mutations, func(m mutation) bool { return m.layer == name }) {
			t.Errorf("no attack is named that escapes without the layer %s", name)
		}
	}
	for _, m := range mutations {
		if !slices.Contains(names, m.layer) || len(m.attacks) == 0 && m.why == "" || m.with != "" && m.why == "" {
			t.Errorf("%+v has no layer, no attacks or no reason", m)
		}
	}
}

// TestReleaseHasNoSwitches looks for what switches layers off in the program that
// people use, and finds it in the other one.
func TestReleaseHasNoSwitches(t *testing.T) {
	release, err := os.ReadFile(agentjail(t))
	if err != nil {
		t.Fatal(err)
	}
	broken, err := os.ReadFile(mutated(t))
	if err != nil {
		t.Fatal(err)
	}
	// Names that nothing else has.
	for _, text := range []string{"AGENTJAIL_MUTATE", "foreign-abi", "host-tree", "host-sockets"} {
		if bytes.Contains(release, []byte(text)) {
			t.Errorf("the release build has %q in it", text)
		}
		if !bytes.Contains(broken, []byte(text)) {
			t.Errorf("the build for mutations has no %q, so that its absence shows nothing", text)
		}
	}
	// And it does nothing there.
	r, code := perform(t, agentjail(t), []string{"AGENTJAIL_MUTATE=" + strings.Join(layerNames(t), ",")}, "--attack", "unshare-user", "--attack", "landlock-only", "--attack", "environment")
	if code != 0 {
		t.Errorf("the release build obeys the variable: %+v", r.Results)
	}
}
