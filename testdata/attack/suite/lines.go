package suite

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// Line is one of the list of escapes: what code in a jail may try, and where it is
// tried. Attacks name their line themselves.
type Line struct {
	Number   int
	Text     string
	CVEs     string
	Tests    []string // of the repository, for what no attack or no whole attack can try
	NotBuilt string   // what there is to build before it can be tried; "" for nothing
}

// Lines is the list of escapes.
func Lines() []Line {
	t := func(names ...string) []string { return names }
	return []Line{
		{1, "write to the runtime by /proc/PID/exe", "CVE-2019-5736", nil, ""},
		{2, "leaked descriptors and working folders", "CVE-2024-21626", t("TestJailDescriptors"), ""},
		{3, "race for PID 1 during the start", "CVE-2016-9962", nil, ""},
		{4, "a mask's source or the console replaced by a symlink", "CVE-2025-31133, CVE-2025-52565", nil, ""},
		{5, "a write to procfs that ends elsewhere, so that a layer is not in force", "CVE-2025-52881", t("TestJailTrail", "TestLayers"), ""},
		{6, "mount sources swapped while jails start", "CVE-2021-30465, CVE-2024-45310", nil, ""},
		{7, "commands and arguments that look like flags", "CVE-2024-32462", t("TestFlagsFirst"), ""},
		{8, "symlinks planted in the workspace, then another run", "CVE-2024-42472, CVE-2026-39861, CVE-2026-34078", t("TestCollectArtifactsNeverLeavesItsFolder"), ""},
		{9, "a wipe over links, closed and deep folders, names that are no text", "CVE-2026-34079", t("TestDeepTreesWithFewDescriptors", "TestClosedLevelsAreOpenedAgain"), ""},
		{10, "forged or foreseen run folders, recycled pids", "CVE-2022-31214, CVE-2026-3888, CVE-2021-44731, CVE-2026-46406", t("TestClean", "TestRunState"), ""},
		{11, "a denied file that does not exist yet is created", "CVE-2026-25725", t("TestHeldPaths", "TestJailDirectTakesOut", "TestJailDirectNames"), ""},
		{12, "a denied path by another way to write it", "CVE-2026-25724", t("TestPlanDeny", "TestJailHide"), ""},
		{13, "the profile, the config and the state folder written from inside", "", nil, ""},
		{14, "a layer that the host lacks", "", t("TestJailRefusesMissingLayers"), ""},
		{15, "denied paths that do not exist, or by the hundred thousand", "", t("TestExpand", "TestJailHide"), ""},

		{16, "cgroup's release_agent, writes below /sys/fs/cgroup", "CVE-2022-0492, CVE-2023-25809", nil, ""},
		{17, "settings that make the kernel run a program", "", t("TestJailProcIsMasked"), ""},
		{18, "the kernel's memory, log, keys, addresses", "", t("TestJailProcIsMasked"), ""},
		{19, "processes of the host", "", t("TestJailSharesNothing"), ""},
		{20, "devices", "", nil, ""},
		{21, "the kernel's file systems, mounts that are left or passed back", "", t("TestJailSharesNothing"), ""},
		{22, "files by handle", "CVE-2014-3519", nil, ""},
		{23, "masks that come off", "CVE-2018-15664", nil, ""},
		{24, "setuid programs, file capabilities, newuidmap", "CVE-2021-3847", nil, ""},

		{25, "namespaces, by all ways in", "CVE-2022-0185", t("TestFilterVerdicts"), ""},
		{26, "the mount calls, old and new", "CVE-2021-41133, CVE-2022-0185", t("TestFilterVerdicts"), ""},
		{27, "keyrings, bpf, perf, userfaultfd, kexec, modules", "CVE-2016-0728", t("TestFilterVerdicts"), ""},
		{28, "io_uring", "", t("TestFilterVerdicts"), ""},
		{29, "typing into the caller's terminal", "CVE-2017-5226, CVE-2019-10063, CVE-2023-28100", t("TestJailTerminal"), ""},
		{30, "socket families", "CVE-2026-31431, CVE-2025-21756, CVE-2026-43500, CVE-2026-43284, CVE-2020-14386, CVE-2024-1086, CVE-2022-0435", nil, ""},
		{31, "all of it by int 0x80 and with the x32 bit", "", t("TestFilterKillsForeignABIs"), ""},
		{32, "other processes' memory and descriptors", "", nil, ""},
		{33, "personality", "", nil, ""},
		{34, "execs that are not what they look like", "", t("TestJailTrail", "TestJailProgramRules", "TestJailProgramLimit"), ""},
		{35, "arguments of an exec rewritten during its notification", "", t("TestReadHostileMemory"), ""},
		{36, "the supervisor of execs flooded or killed", "", t("TestJailStreams", "TestSoakKilledSupervisor"), ""},
		{37, "filters and rules of the agent's own on top", "", nil, ""},
		{38, "every thread: no_new_privs, filter, no capability", "", t("TestJailProcessState"), ""},

		{39, "rename, link, truncate, ioctl beyond what is granted", "", t("TestPlanLandlock"), ""},
		{40, "MPTCP, SCTP and UDP-Lite", "", nil, ""},
		{41, "abstract sockets and signals", "CVE-2020-15257", t("TestJailFirstProcessTakesNoSignals"), ""},
		{42, "pathname sockets of the host's services", "CVE-2026-47128", t("TestJailSocketsInGrants"), ""},
		{43, "modes, owners, times and attributes of what is read-only", "", t("TestJailWorkspaceModes"), ""},
		{44, "descriptors at the start", "", t("TestJailDescriptors"), ""},
		{45, "shared memory and message queues of the host", "", t("TestJailSharesNothing"), ""},

		{46, "ways to write an address", "CVE-2021-29923", t("TestCanonicalHost", "TestConnect"), ""},
		{47, "clouds' metadata services", "", t("TestDestinations"), ""},
		{48, "the host's loopback, private addresses, multicast", "", t("TestJailNetworkRefusals", "TestKernelDestinations"), ""},
		{49, "names that lead to private addresses", "", t("TestKernelDestinations"), ""},
		{50, "exfiltration by DNS", "", t("TestKernelNames", "TestPoolIsBounded"), ""},
		{51, "TLS name, Host and asked name that differ; ECH; CONNECT", "", t("TestJudgeHello", "TestJudgeRequest", "TestKernelTLS", "TestKernelSmugglingH2"), ""},
		{52, "request smuggling, paths and methods in disguise", "", t("TestKernelSmuggling", "TestParseHead", "TestCanonicalPath"), ""},
		{53, "second requests, redirects, upgrades", "", t("TestKernelRequests", "TestKernelStreams"), ""},
		{54, "names with NUL, line feeds, userinfo, lookalikes", "", t("TestCanonicalHost", "TestAnswerRefusesWhatIsNoQuestion"), ""},
		{55, "an empty allowlist, hostile proxy variables", "", t("TestEmptyNetwork", "TestJailUpstream"), ""},
		{56, "UDP, QUIC, ICMP", "", t("TestKernelRefusals"), ""},
		{57, "routes, addresses, links and nftables changed from inside", "", nil, ""},
		{58, "ten thousand connections, slow ones, half-open ones", "", t("TestKernelRelay", "TestParseHelloSlowly"), ""},
		{59, "the gateway crashes", "", t("TestKernelGatewayDies", "TestJailKilledGateway"), ""},

		{60, "the real credential anywhere in the jail, or in what comes out", "", t("TestGatewaySecretNowhere", "TestGatewayMemoryClosed"), ""},
		{61, "the placeholder in another place or on its way to another host", "", t("TestKernelSecrets", "TestGatewayRules"), ""},
		{62, "the credential sent back by the host", "", t("TestKernelEcho"), ""},
		{63, "redirects and downgrades with the credential", "CVE-2018-18074", t("TestKernelUpstreamTLS"), ""},

		{64, "fork bombs, memory, disk, inodes", "", t("TestJailHogs", "TestJailLimits", "TestJailCgroupLimits", "TestJailOverlayIsBounded", "TestJailDeleteLimit"), ""},
		{65, "limits raised, realtime, the last to be killed", "", t("TestPlanRlimits"), ""},
		{66, "lines of one's own in the trail", "", t("TestCleanStrings", "TestRenderHostile"), ""},
		{67, "a flooded trail", "", t("TestFold", "TestFull", "TestQueueIsBounded"), ""},
		{68, "a trail that was changed", "", t("TestVerifyEveryByte", "TestVerify"), ""},
		{69, "processes that stay", "", t("TestJailEndsOrphans"), ""},
		{70, "what a killed run leaves", "", t("TestSoakKilledProcesses", "TestJailKilledFirstProcess"), ""},
		{71, "credentials in the environment", "", t("TestJailUserAndEnvironment"), ""},
		{72, "escape sequences for the caller's terminal", "CVE-2003-0063", t("TestTakenOut", "FuzzScreen", "TestJailScreen", "TestRenderHostile"), ""},

		{73, "what the host would later execute or trust", "CVE-2022-24765, CVE-2024-32002, CVE-2025-53773, CVE-2025-54135, CVE-2025-59536", t("TestHeldPaths", "TestContent", "TestJailDirectProtects", "TestJailDirectTakesOut", "TestJailDirectNames", "TestJailDirectEarly", "TestJailDirectContent"), ""},
		{74, "artifacts that are more than files", "CVE-2026-34078", t("TestCollectArtifactsNames", "TestCollectArtifactsDropsAttributes", "TestApplyRefusesAForgedList"), ""},
		{75, "apply over a file that has changed since", "", t("TestApplyConflicts"), ""},

		{76, "what a rule denies, by another way to write it or another name for it", "CVE-2026-25724", t("TestCanonicalHost", "TestConnect", "FuzzConnect"), ""},
		{77, "a profile that asks for more than the machine's ceiling lets", "", t("TestJailCeiling", "TestCeiling"), ""},
		{78, "the host's files by the seeds of the home folder", "", t("TestJailSeeds", "TestSeedCopyRedacts"), ""},

		{79, "the run's own control socket: orders, and answers to its own questions", "CVE-2024-21626", t("TestJailControlSocket", "TestOtherNamespace", "TestPeerUsers", "TestFlood", "TestJailApproverKilled", "TestJailApproveWebhook"), ""},
		{80, "an archive of a frozen run that does more than lie there", "CVE-2001-1267, CVE-2018-20685", t("TestJailPack", "TestArchiveJudge"), ""},
		{81, "the metrics' port, what is counted there, the way to a collector", "", t("TestJailMetrics", "TestJailCollector"), ""},
	}
}

// ArgLedger makes this program print the table of docs/security.md.
const ArgLedger = "ledger"

// Ledger is the list as docs/security.md has it: each line with its CVEs, the layers
// that answer it, and the names of its attacks and tests.
func Ledger() string {
	var b strings.Builder
	b.WriteString("| | what code in a jail tries | class | stopped by | attacks and tests |\n|---|---|---|---|---|\n")
	for _, l := range Lines() {
		var layers, names []string
		add := func(a attacks.Attack) {
			for _, s := range a.Stopped {
				if !slices.Contains(layers, s.Layer) {
					layers = append(layers, s.Layer)
				}
			}
			names = append(names, "`"+a.ID+"`")
		}
		for _, a := range attacks.All() {
			if a.Line == l.Number {
				add(a)
			}
		}
		for _, s := range scenarios() {
			if s.Line == l.Number {
				add(s.Attack)
			}
		}
		if len(names) > mostNames {
			names = append(names[:mostNames:mostNames], fmt.Sprintf("and %d more", len(names)-mostNames))
		}
		names = append(names, l.Tests...)
		if l.NotBuilt != "" {
			names = append(names, "not built yet: "+l.NotBuilt)
		}
		fmt.Fprintf(&b, "| %s%d | %s | %s | %s | %s |\n", attacks.GroupOf(l.Number), l.Number, l.Text, l.CVEs, strings.Join(layers, ", "), strings.Join(names, ", "))
	}
	return b.String()
}

// mostNames are the attacks of a line that the ledger names one by one.
const mostNames = 6
