package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoRun says that nobody serves the socket: the run is over, or has none.
var ErrNoRun = errors.New("the run does not answer")

// Error is what the run said to a request that it did not carry out.
type Error struct{ Text string }

func (e *Error) Error() string { return e.Text }

// Call asks a run one thing. dir is the run's runtime folder, owner the uid that has to
// be at the other end (the caller's own, or any for root): whoever else could put a
// socket there would learn what is answered.
func Call(ctx context.Context, dir string, owner uint32, method string, params, result any) error {
	q := request{Version: Version, Method: method}
	if params != nil {
		data, err := json.Marshal(params)
		if err != nil {
			return err
		}
		q.Params = data
	}
	line, err := frame(q, maxRequest)
	if err != nil {
		return err
	}
	var c net.Conn
	err = within(dir, func(path string) (err error) {
		c, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return ErrNoRun
	case err != nil:
		return fmt.Errorf("connect to the run: %w", err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	who, err := peerOf(c.(*net.UnixConn))
	if err != nil {
		return err
	}
	if who.UID != owner && unix.Geteuid() != 0 {
		return fmt.Errorf("the control socket in %s is served by uid %d\nhint: it should be uid %d; somebody else made it", dir, who.UID, owner)
	}
	if _, err := c.Write(line); err != nil {
		return gone(ctx, err)
	}
	answer, err := readLine(bufio.NewReader(c), maxResponse)
	if err != nil {
		return gone(ctx, err)
	}
	var res response
	if err := json.Unmarshal(answer, &res); err != nil {
		return fmt.Errorf("the run's answer can't be read: %w", err)
	}
	switch {
	case res.Version != Version:
		return fmt.Errorf("the run speaks version %d of the control protocol, this agentjail version %d\nhint: it was started by another release of agentjail; use that one", res.Version, Version)
	case res.Error != "":
		return &Error{res.Error}
	case result == nil:
		return nil
	}
	return json.Unmarshal(res.Result, result)
}

// gone says why a connection ended.
func gone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return ErrNoRun
	}
	return fmt.Errorf("ask the run: %w", err)
}
