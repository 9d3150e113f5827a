package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// SocketName is the socket's in a run's runtime folder.
const SocketName = "control.sock"

const (
	// maxClients bounds the connections at once.
	maxClients = 32

	// requestTimeout is how long a request may take from its first byte to its last,
	// and an answer to be taken.
	requestTimeout = 10 * time.Second

	// idleTimeout is how long a client may say nothing. One that only has a question
	// now and then connects again.
	idleTimeout = 5 * time.Minute
)

// Handler carries out one method. What it returns is the result as JSON; an error is
// told to the client, and may have a hint in a second line. ctx ends when the client is
// gone or the run is over. Handlers are called from several goroutines.
type Handler func(ctx context.Context, who Peer, params json.RawMessage) (any, error)

// Config is what a Server needs.
type Config struct {
	Dir   string // the run's runtime folder, which nobody else may write to
	Owner uint32 // the run's user

	// Refused is told of everybody who connected and may not; it may be nil.
	Refused func(who Peer, why error)
}

// Server serves a run's control socket.
type Server struct {
	cfg     Config
	l       *net.UnixListener
	methods map[string]Handler
	ctx     context.Context
	cancel  context.CancelFunc
	all     sync.WaitGroup

	mu      sync.Mutex
	clients map[*client]bool
	closed  bool
}

// client is one connection.
type client struct {
	*net.UnixConn
	waits time.Time // since when it has asked nothing; zero while it is answered
}

// Listen makes the socket. Nobody is served before Serve.
func Listen(cfg Config) (*Server, error) {
	var st unix.Stat_t
	if err := unix.Stat(cfg.Dir, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: cfg.Dir, Err: err}
	}
	if st.Uid != cfg.Owner || st.Mode&0o022 != 0 {
		return nil, fmt.Errorf("control socket: folder %s is not the user's alone (uid %d, mode %o)", cfg.Dir, st.Uid, st.Mode&0o777)
	}
	var l *net.UnixListener
	err := within(cfg.Dir, func(path string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	// Before that the folder's mode keeps others out; the umask is the whole process's,
	// and other goroutines make files meanwhile.
	if err := os.Chmod(filepath.Join(cfg.Dir, SocketName), 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // by a path that is gone by then
	s := &Server{cfg: cfg, l: l, methods: map[string]Handler{}, clients: map[*client]bool{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// within calls do with a path of the socket that is short whatever the folder's is: the
// kernel has room for 107 bytes (sun_path, unix(7)).
func within(dir string, do func(path string) error) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	return do("/proc/self/fd/" + strconv.Itoa(fd) + "/" + SocketName)
}

// Handle puts a method into the table. It is a mistake to do so once clients are
// served, or twice for one name.
func (s *Server) Handle(method string, h Handler) {
	if _, ok := s.methods[method]; ok {
		panic("control: method " + method + " is there twice")
	}
	s.methods[method] = h
}

// Serve serves clients until Close.
func (s *Server) Serve() { s.all.Go(s.accept) }

func (s *Server) accept() {
	for {
		c, err := s.l.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // EMFILE, ECONNABORTED and the like pass
			select {
			case <-s.ctx.Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		who, err := peerOf(c)
		if err == nil {
			err = who.check(s.cfg.Owner)
		}
		if err != nil {
			c.Close()
			if s.cfg.Refused != nil {
				s.cfg.Refused(who, err)
			}
			continue
		}
		one := &client{UnixConn: c, waits: time.Now()}
		if !s.enter(one) {
			c.Close()
			return
		}
		s.all.Go(func() {
			defer s.leave(one)
			s.serve(one, who)
		})
	}
}

// enter gives a client a place: where there is none, the place of the one that has been
// waiting longest. Should all of them be answered just now, the new one has to go.
func (s *Server) enter(c *client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if len(s.clients) >= maxClients {
		var oldest *client
		for o := range s.clients {
			if !o.waits.IsZero() && (oldest == nil || o.waits.Before(oldest.waits)) {
				oldest = o
			}
		}
		if oldest == nil {
			oldest = c
		}
		oldest.Close()
		delete(s.clients, oldest)
		if oldest == c {
			return true // its first read fails
		}
	}
	s.clients[c] = true
	return true
}

func (s *Server) leave(c *client) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
}

func (s *Server) waits(c *client, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.waits = since
}

// serve answers one client's requests, one after the other.
func (s *Server) serve(c *client, who Peer) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	r := bufio.NewReaderSize(c, 4<<10)
	for {
		if c.SetReadDeadline(time.Now().Add(idleTimeout)) != nil {
			return
		}
		if _, err := r.Peek(1); err != nil {
			return
		}
		_ = c.SetReadDeadline(time.Now().Add(requestTimeout))
		line, err := readLine(r, maxRequest)
		if err != nil {
			if errors.Is(err, errTooLong) {
				s.say(c, response{Error: fmt.Sprintf("a request has at most %d bytes", maxRequest)})
			}
			return
		}
		s.waits(c, time.Time{})
		q, err := parseRequest(line)
		var res response
		if err != nil {
			res = response{Error: err.Error()}
		} else {
			res = s.call(ctx, who, q)
		}
		if !s.say(c, res) || err != nil {
			return
		}
		s.waits(c, time.Now())
	}
}

// call carries out a request. A method that panics takes its own answer with it and
// nothing else: the run goes on.
func (s *Server) call(ctx context.Context, who Peer, q request) (res response) {
	defer func() {
		if p := recover(); p != nil {
			res = response{Error: fmt.Sprintf("the method failed: %v", p)}
		}
	}()
	h := s.methods[q.Method]
	if h == nil {
		return response{Error: fmt.Sprintf("this run has no method %q", clip(q.Method))}
	}
	v, err := h(ctx, who, q.Params)
	if err != nil {
		return response{Error: err.Error()}
	}
	data, err := json.Marshal(v)
	if err != nil {
		return response{Error: err.Error()}
	}
	return response{Result: data}
}

func (s *Server) say(c *client, res response) bool {
	res.Version = Version
	line, err := frame(res, maxResponse)
	if err != nil {
		line, err = frame(response{Version: Version, Error: "the answer can't be sent: " + err.Error()}, maxResponse)
		if err != nil {
			return false
		}
	}
	_ = c.SetWriteDeadline(time.Now().Add(requestTimeout))
	_, err = io.WriteString(c, string(line))
	return err == nil
}

// clip bounds a client's own word in what is said about it.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// Close ends every connection and waits for what is being answered.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.clients {
		c.Close()
	}
	s.mu.Unlock()
	s.cancel()
	err := s.l.Close()
	s.all.Wait()
	return errors.Join(err, os.RemoveAll(filepath.Join(s.cfg.Dir, SocketName)))
}
