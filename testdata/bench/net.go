package main

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// The ports that the jail dials. 443 has a listener of its own and no NAT; a port
// from 1024 up goes through the nftables redirect.
const (
	portListener = 443
	portRedirect = 5201
)

// path is one way from a client to the servers on the host's loopback.
type path struct {
	name string
	err  error // why it can't be measured
	// dial is where the client finds a server.
	dial func(s server) netip.AddrPort
	// jailPort makes it a path through the jail, by the server's name.
	jailPort int
	run      func(ctx context.Context, argv ...string) ([]byte, error)
}

// measure is one thing measured on every path.
type measure struct {
	what string
	unit unit
	run  func(ctx context.Context, p path) (float64, error)
}

// benchNet measures bulk throughput and new connections.
func benchNet(ctx context.Context, b *bench) ([]comparison, error) {
	paths := b.paths()
	var measures []measure
	if b.servers.iperf.err == nil {
		measures = append(measures, b.bulk("TCP up", nil), b.bulk("TCP down", []string{"-R"}))
	}
	measures = append(measures, b.connections(8), b.connections(1))

	samples := make([][]*sample, len(measures))
	for i := range measures {
		for _, p := range paths {
			samples[i] = append(samples[i], &sample{name: p.name, err: p.err})
		}
	}
	for range b.rounds {
		for i, m := range measures {
			for j, p := range paths {
				if samples[i][j].err != nil {
					continue
				}
				v, err := m.run(ctx, p)
				samples[i][j].add([]float64{v}, err)
			}
		}
	}

	const native, listener, redirect, pasta, slirp = 0, 1, 2, 3, 4 // as b.paths orders them
	bulk := map[int]target{native: {atLeast: 0.5}, pasta: {atLeast: 2}, slirp: {atLeast: 2}}
	rate := map[int]target{pasta: {atLeast: 1}}
	var table []comparison
	for i, m := range measures {
		targets := rate
		if strings.HasPrefix(m.what, "TCP") {
			targets = bulk
		}
		for _, jail := range []int{listener, redirect} {
			for _, peer := range []int{native, pasta, slirp} {
				table = append(table, comparison{m.what, m.unit, samples[i][jail], samples[i][peer], targets[peer]})
			}
		}
	}
	return table, nil
}

// paths are the ways to compare, in the order of their turns.
func (b *bench) paths() []path {
	direct := func(s server) netip.AddrPort { return s.listen }
	through := func(host string) func(server) netip.AddrPort {
		return func(s server) netip.AddrPort {
			addr, err := netip.ParseAddr(host)
			if err != nil {
				return netip.AddrPort{}
			}
			return netip.AddrPortFrom(addr, s.listen.Port())
		}
	}
	jailed := func(ctx context.Context, argv ...string) ([]byte, error) {
		return b.output(ctx, b.jailed(b.project, argv...)...)
	}

	pastaErr := installed("pasta")
	gateway := ""
	if pastaErr == nil {
		var routes []byte
		if routes, pastaErr = os.ReadFile("/proc/net/route"); pastaErr == nil {
			gateway, pastaErr = defaultGateway(string(routes))
		}
	}
	return []path{
		{name: "native loopback", dial: direct, run: b.output},
		{name: "listener", jailPort: portListener, run: jailed},
		{name: "redirect", jailPort: portRedirect, run: jailed},
		// No port is forwarded (-T none ...): pasta splices what goes to a forwarded
		// loopback port and takes everything else over its tap. The address of the
		// default gateway is the host's loopback (pasta(1), --no-map-gw).
		{name: "pasta's tap", err: pastaErr, dial: through(gateway), run: func(ctx context.Context, argv ...string) ([]byte, error) {
			return b.output(ctx, append([]string{"pasta", "--config-net", "-t", "none", "-u", "none", "-T", "none", "-U", "none", "--"}, argv...)...)
		}},
		// 10.0.2.2 is the host's loopback (slirp4netns(1)).
		{name: "slirp4netns", err: installed("slirp4netns", "unshare"), dial: through("10.0.2.2"), run: b.slirp},
	}
}

// hostPort is where a client of this path finds the server.
func (p path) hostPort(s server) (string, string) {
	if p.jailPort != 0 {
		return s.name, strconv.Itoa(p.jailPort)
	}
	address := p.dial(s)
	return address.Addr().String(), strconv.Itoa(int(address.Port()))
}

func (b *bench) bulk(what string, extra []string) measure {
	return measure{what, bitsPerSecond, func(ctx context.Context, p path) (float64, error) {
		host, port := p.hostPort(b.servers.iperf)
		argv := append([]string{"iperf3", "-J", "-c", host, "-p", port, "-t", strconv.Itoa(int(b.duration.Seconds()))}, extra...)
		out, err := p.run(ctx, argv...)
		if err != nil {
			return 0, err
		}
		return iperfBits(out)
	}}
}

func (b *bench) connections(n int) measure {
	what := fmt.Sprintf("connections, %d at once", n)
	return measure{what, perSecond, func(ctx context.Context, p path) (float64, error) {
		host, port := p.hostPort(b.servers.echo)
		out, err := p.run(ctx, b.cps, "dial", "-n", strconv.Itoa(n), "-t", b.duration.String(), host+":"+port)
		if err != nil {
			return 0, err
		}
		return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	}}
}

// iperfBits reads the throughput that arrived.
func iperfBits(data []byte) (float64, error) {
	var report struct {
		Error string
		End   struct {
			Received struct {
				Bits float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(data, &report); err != nil {
		return 0, fmt.Errorf("iperf3's report: %w", err)
	}
	if report.Error != "" {
		return 0, fmt.Errorf("iperf3: %s", report.Error)
	}
	if report.End.Received.Bits <= 0 {
		return 0, errors.New("iperf3's report has no throughput")
	}
	return report.End.Received.Bits, nil
}

// defaultGateway finds the IPv4 default route in /proc/net/route, whose addresses are
// in hex, in the byte order of the machine (route(8) reads the same file).
func defaultGateway(routes string) (string, error) {
	for line := range strings.Lines(routes) {
		fields := strings.Fields(line)
		if len(fields) < 8 || fields[1] != "00000000" || fields[7] != "00000000" || fields[2] == "00000000" {
			continue
		}
		raw, err := hex.DecodeString(fields[2])
		if err != nil || len(raw) != 4 {
			continue
		}
		var octets [4]byte
		binary.NativeEndian.PutUint32(octets[:], binary.BigEndian.Uint32(raw))
		return netip.AddrFrom4(octets).String(), nil
	}
	return "", errors.New("the host has no default route, whose address pasta maps")
}
