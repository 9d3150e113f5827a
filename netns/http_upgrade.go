package netns

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// upgraded takes over a connection that becomes a WebSocket. Where the run has secrets,
// its frames are looked through in both directions: for placeholders, and for what the
// host may not send back. Where models are called over it, what the host says is read.
func (a *ask) upgraded(res *http.Response) error {
	body, ok := res.Body.(io.ReadWriteCloser)
	if !ok || a.x.wire == nil {
		return errors.New("the host switched protocols without being asked to")
	}
	a.w.status, a.w.first = res.StatusCode, time.Since(a.began)
	c := &upgradedConn{ReadWriteCloser: body, a: a}
	v := a.x.g.vault
	if len(v.secrets) > 0 || a.model != nil {
		if e := res.Header.Get("Sec-Websocket-Extensions"); e != "" {
			return fmt.Errorf("the host uses the WebSocket extension %q, which was not offered to it", clip(e))
		}
		c.down = &frames{forms: a.x.forms}
		if a.model != nil {
			c.down.shown = a.model.listenTo()
		}
	}
	if len(v.secrets) > 0 {
		c.up = &frames{client: true, forms: v.placeholders, found: func(i int) error {
			a.misplacedIn(v.owners[i], "a WebSocket message", "the connection was ended")
			return fmt.Errorf("the placeholder of the secret %q is in a WebSocket message", v.owners[i])
		}}
	}
	res.Body = c
	a.x.wire.upgraded()
	return nil
}

// upgradedConn is the host's side of a WebSocket. One goroutine reads and one writes.
type upgradedConn struct {
	io.ReadWriteCloser
	a        *ask
	up, down *frames // nil: nothing is looked through

	in  []byte // scratch of the reader
	out []byte // looked through and not yet read
	err error

	told bool // the program was told why the connection ends
}

var errSocketEnded = errors.New("the WebSocket was ended")

func (c *upgradedConn) Read(p []byte) (int, error) {
	if c.down == nil {
		n, err := c.ReadWriteCloser.Read(p)
		return n, c.received(n, err)
	}
	for len(c.out) == 0 {
		// The program hears why, where it can be told in a frame of its own. That the
		// host's side was closed shows itself here as an error of reading.
		if why := c.a.socket.Load(); why != nil && !c.told {
			c.told, c.err = true, errSocketEnded
			if c.down.between() {
				c.out = closeFrame("agentjail: " + *why)
			}
			continue
		}
		if c.err != nil {
			return 0, c.err
		}
		if c.in == nil {
			c.in = make([]byte, copyBuffer)
		}
		n, err := c.ReadWriteCloser.Read(c.in)
		if c.err = c.received(n, err); errors.Is(c.err, errCapped) {
			continue
		}
		if c.out, err = c.down.push(c.in[:n]); err != nil {
			c.end("the host sent " + err.Error())
		}
		if c.err != nil && c.down.shown != nil {
			c.down.shown.Close()
		}
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

// received counts; an error of the cap comes before one of reading.
func (c *upgradedConn) received(n int, err error) error {
	if cerr := c.a.use(c.a.down, n); cerr != nil {
		return cerr
	}
	c.a.received.Add(int64(n))
	return err
}

func (c *upgradedConn) Write(p []byte) (int, error) {
	if c.a.socket.Load() != nil {
		return len(p), nil // the reader ends the connection
	}
	out := p
	if c.up != nil {
		var err error
		if out, err = c.up.push(p); err != nil {
			c.end(err.Error())
			return len(p), nil
		}
	}
	if err := c.a.use(c.a.up, len(p)); err != nil {
		return 0, err
	}
	// Counted before: the host's answer may end the exchange, and so the count, before
	// this goroutine runs again.
	c.a.sent.Add(int64(len(out)))
	n, err := c.ReadWriteCloser.Write(out)
	c.a.sent.Add(int64(n - len(out)))
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// end closes the host's side, which gets nothing more; the reader tells the program.
func (c *upgradedConn) end(why string) {
	c.a.socket.CompareAndSwap(nil, &why)
	_ = c.Close() // an error of closing changes nothing
}
