package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// server is a program on the host's loopback that the clients dial.
type server struct {
	name   string // as the jail's profile calls it
	listen netip.AddrPort
	cmd    *exec.Cmd
	err    error
}

type servers struct{ iperf, echo server }

func (s servers) stop() {
	for _, one := range []server{s.iperf, s.echo} {
		if one.cmd != nil && one.cmd.Process != nil {
			one.cmd.Process.Kill()
			one.cmd.Wait()
		}
	}
}

// serve starts both servers, as the user who measures.
func (b *bench) serve(ctx context.Context) (s servers, err error) {
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	s.echo.name = "echo.bench.example" // RFC 2606: nobody's
	s.echo.cmd = b.command(ctx, b.cps, "serve", "127.0.0.1:0")
	stdout, err := s.echo.cmd.StdoutPipe()
	if err != nil {
		return s, err
	}
	if err := s.echo.cmd.Start(); err != nil {
		return s, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return s, fmt.Errorf("cps serve: %w", err)
	}
	if s.echo.listen, err = netip.ParseAddrPort(strings.TrimSpace(line)); err != nil {
		return s, err
	}

	s.iperf.name = "iperf.bench.example"
	if s.iperf.err = installed("iperf3"); s.iperf.err != nil {
		fmt.Fprintln(os.Stderr, "bench: throughput is left out:", s.iperf.err)
		return s, nil
	}
	port, err := freePort()
	if err != nil {
		return s, err
	}
	s.iperf.listen = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	s.iperf.cmd = b.command(ctx, "iperf3", "-s", "-B", "127.0.0.1", "-p", fmt.Sprint(port))
	if err := s.iperf.cmd.Start(); err != nil {
		return s, err
	}
	return s, waitListening(ctx, s.iperf.listen)
}

// freePort asks the kernel. Another program may take the port before iperf3, which
// then says so and ends the measurement.
func freePort() (uint16, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return uint16(listener.Addr().(*net.TCPAddr).Port), nil
}

// waitListening reads the kernel's table of sockets: to dial iperf3 would be its test.
func waitListening(ctx context.Context, address netip.AddrPort) error {
	octets := address.Addr().As4()
	// "0100007F:1451 00000000:0000 0A": local address as a little-endian word, any
	// peer, TCP_LISTEN (proc(5), /proc/net/tcp).
	want := fmt.Sprintf("%02X%02X%02X%02X:%04X 00000000:0000 0A", octets[3], octets[2], octets[1], octets[0], address.Port())
	for range 500 {
		table, err := os.ReadFile("/proc/net/tcp")
		if err != nil {
			return err
		}
		if strings.Contains(string(table), want) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return fmt.Errorf("iperf3 does not listen on %s", address)
}

// profileText is agentjail's profile for every part: the network is on, and both
// servers stand behind a name.
func (b *bench) profileText() string {
	var s strings.Builder
	s.WriteString("description = \"make bench\"\nextends     = [\"default\"]\n\nnetwork {\n")
	for _, one := range []server{b.servers.iperf, b.servers.echo} {
		if one.err != nil {
			continue
		}
		fmt.Fprintf(&s, "  allow %q {\n    ports    = [%d, %d]\n    protocol = \"tcp\"\n    upstream = %q\n  }\n",
			one.name, portListener, portRedirect, one.listen.String())
	}
	s.WriteString("}\n")
	// A Go outside /usr is not in what every jail sees.
	if tool, err := goProgram(); err == nil && !strings.HasPrefix(tool, "/usr/") {
		fmt.Fprintf(&s, "\nfiles { exec = [%q] }\n", filepath.Dir(filepath.Dir(tool)))
	}
	return s.String()
}
