package suite

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// ArgStage makes this program the one that performs on the stage.
const ArgStage = "stage"

// serverAddress is where the stage's servers are for the profile and for the names.
const serverAddress = "10.11.12.13"

// anotherAddress stands for the host's own address in its network.
const anotherAddress = "192.168.77.1"

// stageAddresses are put on the stage's loopback interface: clouds' metadata services
// (the gateway's own table names them) and addresses of each kind of private network.
func stageAddresses() []string {
	return []string{serverAddress, anotherAddress, "169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254",
		"172.16.5.5", "100.64.0.10", "169.254.77.1", "fe80::1", "64:ff9b::a0b:c0d", "::10.11.12.13", attacks.RuleAddress}
}

// stageOrder is what the stage is told.
type stageOrder struct {
	Options Options  `json:"options"`
	Dir     string   `json:"dir"`
	Program string   `json:"program"`
	Attacks []string `json:"attacks"`
	Opened  []string `json:"opened"`
	Direct  bool     `json:"direct"`
}

// performance is what came of a scene.
type performance struct {
	Results []Result `json:"results"`
	Trouble string   `json:"trouble,omitempty"`
}

// onStage starts this program in a network namespace of its own and gives back its results.
// An ordinary user's is in a user namespace in which he is himself, so that agentjail
// finds the user that it always has.
func onStage(o stageOrder) (performance, error) {
	var p performance
	order, err := json.Marshal(o)
	if err != nil {
		return p, err
	}
	cmd := exec.Command("/proc/self/exe", ArgStage)
	cmd.Stdin = strings.NewReader(string(order))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if !privileged() {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE}
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	// Pdeathsig is of the thread that forks.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := cmd.Output()
	if err != nil {
		return p, fmt.Errorf("the stage: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return p, json.Unmarshal(out, &p)
}

// privileged says whether a network namespace can be made without a user namespace.
func privileged() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0 && data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0
}

// StageMain performs on the stage and prints the results.
func StageMain(in io.Reader, out, errs io.Writer) int {
	var o stageOrder
	err := json.NewDecoder(in).Decode(&o)
	if err == nil {
		var p performance
		if p, err = performOnStage(o); err == nil {
			err = json.NewEncoder(out).Encode(p)
		}
	}
	if err != nil {
		fmt.Fprintf(errs, "%v\n", err)
		return ExitTrouble
	}
	return 0
}

func performOnStage(o stageOrder) (p performance, err error) {
	if err := raise(); err != nil {
		return p, err
	}
	authority, err := newAuthority()
	if err != nil {
		return p, err
	}
	s := &scene{opt: o.Options, dir: o.Dir, program: o.Program}
	secret := newSecret()
	s.env = []string{secretVariable + "=" + secret}
	var sets []*canaries
	defer func() {
		for _, c := range sets {
			err = errors.Join(err, c.remove())
		}
	}()
	play := &play{scene: s, opened: o.Opened}
	for _, name := range []string{"stage-jailed", "stage-free"} {
		c, err := plant(filepath.Join(o.Dir, name), o.Options.Agentjail, homeDir())
		if err != nil {
			return p, err
		}
		sets = append(sets, c)
		describe(&c.target, authority, secret)
		c.target.Direct = o.Direct
	}
	play.jail, play.free = sets[0], sets[1]
	// One network for both: what is seen there is told apart by when it was.
	net := &network{authority: authority, secret: secret}
	net.to.Store(&sets[0].seen)
	if err := net.open(); err != nil {
		return p, err
	}
	defer net.close()
	play.between = func() { net.to.Store(&sets[1].seen) }
	// Ambient capabilities are for this program alone (capabilities(7)).
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0); errno != 0 {
		return p, os.NewSyscallError("prctl(PR_CAP_AMBIENT)", errno)
	}
	ca := filepath.Join(o.Dir, "ca.pem")
	if err := os.WriteFile(ca, authority.pem, 0o644); err != nil {
		return p, err
	}
	play.profile = stageProfile(sets[0].target.Hosts, ca)
	play.secret = secret
	return play.perform(selectAttacks(o.Attacks))
}

// raise brings the loopback interface up with the stage's addresses.
func raise() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("the stage's loopback interface: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("the stage's loopback interface: %w", err)
	}
	for _, text := range append(stageAddresses(), nameServers()...) {
		a := netip.MustParseAddr(text)
		if a.IsLoopback() {
			continue // 127.0.0.0/8 is the interface's already
		}
		err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}, Flags: unix.IFA_F_NODAD})
		if err != nil && !(a.Is6() && errors.Is(err, unix.EOPNOTSUPP)) && !errors.Is(err, unix.EEXIST) { // a kernel without IPv6
			return fmt.Errorf("put %s on the stage's loopback interface: %w", text, err)
		}
	}
	// What is sent to groups and to everybody has a way to go, so that it is the jail's
	// doing where it does not.
	for _, to := range []string{"224.0.0.0/4", "255.255.255.255/32"} {
		_, dst, err := net.ParseCIDR(to)
		if err == nil {
			err = netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK})
		}
		if err != nil {
			return fmt.Errorf("route %s to the stage's loopback interface: %w", to, err)
		}
	}
	return nil
}

// nameServers are the host's, whose place the stage takes.
func nameServers() []string {
	data, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return []string{"127.0.0.1"}
	}
	var list []string
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == "nameserver" {
			if a, err := netip.ParseAddr(f[1]); err == nil && a.Zone() == "" {
				list = append(list, a.String())
			}
		}
	}
	if len(list) == 0 {
		return []string{"127.0.0.1"} // what resolvers fall back on, resolv.conf(5)
	}
	return list
}

// domain is a name that nobody has (RFC 6761), so that nothing could be asked for it.
const domain = "attack.example"

func describe(t *attacks.Target, a *authority, secret string) {
	t.Another = anotherAddress
	t.Hosts = attacks.Hosts{TLS: "tls." + domain, Requests: "requests." + domain, Other: "other." + domain, Plain: "plain." + domain,
		Rebind: "rebind." + domain, Refused: "refused." + domain,
		Spell: "spell." + domain, Lead: "lead." + domain, Alias: "alias." + domain, CA: string(a.pem)}
	t.Secret = secretTarget(secret)
}

// stageProfile is what the suite adds to the profile: hosts that it serves itself, and
// what it denies among them. The network of the last deny is attacks.RuleAddress's.
func stageProfile(h attacks.Hosts, ca string) string {
	return fmt.Sprintf(`
network {
  allow %[1]q {
    upstream    = "%[6]s:443"
    upstream_ca = %[7]q
  }
  allow %[2]q {
    upstream    = "%[6]s:443"
    upstream_ca = %[7]q
    secret      = secret.%[8]s
    request "GET" "/allowed/**" {}
    request "POST" "/allowed/**" {}
  }
  allow %[3]q {
    upstream    = "%[6]s:443"
    upstream_ca = %[7]q
    request "GET" "/**" {}
  }
  allow "%[4]s:80" {
    protocol = "http"
    upstream = "%[6]s:80"
    request "GET" "/allowed/**" {}
    request "POST" "/allowed/**" {}
  }
  allow "*.%[5]s" {}

  allow "*.%[10]s" {
    upstream    = "%[6]s:443"
    upstream_ca = %[7]q
  }
  deny "denied.%[10]s" {}
  deny "bücher.%[10]s" {}
  allow "*.%[11]s:%[13]s" { protocol = "tcp" }
  allow "%[12]s:%[13]s" { protocol = "tcp" }
  deny "10.77.0.0/24" {}
}

secret "%[8]s" {
  env    = %[9]q
  header = "x-api-key"
}
`, h.TLS, h.Requests, h.Other, h.Plain, h.Rebind, serverAddress, ca, "agentjail_attack", secretVariable, h.Spell, h.Lead, attacks.RuleAddress, attacks.RulePort)
}
