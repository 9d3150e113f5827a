// Command cps measures how many TCP connections a second a path carries. One
// connection is opened, carries one byte there and one back, is closed by the server
// and then by the client.
//
//	cps serve ADDRESS
//	cps dial [-n CONCURRENT] [-t DURATION] ADDRESS	prints connections per second
//
// The server closes first, so that TIME-WAIT stays on its side: a client that closes
// first keeps its port for a minute (RFC 9293, 3.6.1) and runs out of the 28,232
// ports of net.ipv4.ip_local_port_range within seconds.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cps:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	usage := errors.New("usage: cps serve ADDRESS | cps dial [-n CONCURRENT] [-t DURATION] ADDRESS")
	if len(args) < 2 {
		return usage
	}
	switch args[0] {
	case "serve":
		return serve(args[1])
	case "dial":
		flags := flag.NewFlagSet("dial", flag.ContinueOnError)
		concurrent := flags.Int("n", 1, "connections at once")
		duration := flags.Duration("t", 3*time.Second, "how long")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		if flags.NArg() != 1 || *concurrent < 1 {
			return usage
		}
		return dial(flags.Arg(0), *concurrent, *duration)
	}
	return usage
}

func serve(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr()) // whoever asked for port 0 reads it here
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			var b [1]byte
			if _, err := io.ReadFull(conn, b[:]); err == nil {
				conn.Write(b[:]) // the client notices a failure and says it
			}
		}()
	}
}

// dial opens connections until the time is over and prints their rate. One failure
// fails the measurement: a path that drops connections must not look fast.
func dial(address string, concurrent int, duration time.Duration) error {
	// The name is looked up once: connections are measured, not DNS.
	target, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return err
	}
	// The first connection is not counted: it may start a gateway.
	if err := one(target.String()); err != nil {
		return err
	}
	start := time.Now()
	end := start.Add(duration)
	counts := make([]int, concurrent)
	errs := make([]error, concurrent)
	var workers sync.WaitGroup
	for i := range concurrent {
		workers.Go(func() {
			for time.Now().Before(end) {
				if errs[i] = one(target.String()); errs[i] != nil {
					return
				}
				counts[i]++
			}
		})
	}
	workers.Wait()
	elapsed := time.Since(start)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	total := 0
	for _, n := range counts {
		total += n
	}
	fmt.Printf("%.1f\n", float64(total)/elapsed.Seconds())
	return nil
}

func one(address string) error {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{'x'}); err != nil {
		return err
	}
	var b [2]byte
	switch n, err := io.ReadFull(conn, b[:]); {
	case n == 1 && b[0] == 'x' && errors.Is(err, io.ErrUnexpectedEOF): // the byte, then the end
		return nil
	case err == nil:
		return errors.New("the server sent more than was echoed")
	default:
		return fmt.Errorf("echo from %s: %w", address, err)
	}
}
