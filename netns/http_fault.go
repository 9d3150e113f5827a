package netns

import (
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// faults draws for each request whether something goes wrong. Each fault of the profile
// has a sequence of its own: with a seed the nth request that it is for always meets the
// same.
type faults struct {
	mu    sync.Mutex
	draws map[string]*rand.Rand
}

func newFaults() *faults { return &faults{draws: map[string]*rand.Rand{}} }

func (f *faults) draw(x *profiles.Fault) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := string(x.Kind) + " " + x.Origin.String()
	r := f.draws[key]
	if r == nil {
		seed := rand.Uint64()
		if x.Seed != nil {
			seed = uint64(*x.Seed)
		}
		// By its kind and not by its line, so that a line above it changes nothing.
		h := fnv.New64a()
		_, _ = h.Write([]byte(x.Kind)) // hash.Hash never fails
		r = rand.New(rand.NewPCG(seed, h.Sum64()))
		f.draws[key] = r
	}
	return r.Float64() < x.Rate
}

// fault lets go wrong what the profile says. It says whether the request is over.
func (a *ask) fault(r *http.Request) bool {
	for _, x := range a.x.access.Faults(a.match) {
		if !a.x.g.faults.draw(x) {
			continue
		}
		switch x.Kind {
		case profiles.FaultStatus:
			a.faulted(x, fmt.Sprintf("status %d", x.Status), audit.Failed)
			a.faultStatus(r, x)
			return true
		case profiles.FaultReset:
			a.faulted(x, "reset", audit.Failed)
			if r.ProtoMajor == 1 {
				reset(a.x.c.TCPConn)
			}
			panic(http.ErrAbortHandler) // for HTTP/2 a RST_STREAM; net/http logs nothing of it
		case profiles.FaultDelay:
			a.faulted(x, "delay "+profiles.FormatDuration(x.Delay), audit.Allowed)
			wait := time.NewTimer(x.Delay)
			select {
			case <-wait.C:
			case <-r.Context().Done():
				wait.Stop()
				panic(http.ErrAbortHandler)
			}
		case profiles.FaultTruncate:
			a.cut = x
		}
	}
	return false
}

// faulted puts a fault into the request's record.
func (a *ask) faulted(x *profiles.Fault, what string, o audit.Outcome) {
	if a.rec.Fault != "" {
		a.rec.Fault += ", "
	}
	a.rec.Fault += what + " (" + x.Origin.String() + ")"
	if o != audit.Allowed {
		a.rec.Outcome, a.rec.Rule, a.rec.Reason = o, x.Origin.String(), "the profile makes a share of the requests fail"
		a.x.mu.Lock()
		a.x.said = true
		a.x.mu.Unlock()
	}
}

// faultStatus answers in the host's place. Nothing in the answer says so: an agent that
// can tell a test from a failure is not tested. The trail says it.
func (a *ask) faultStatus(r *http.Request, x *profiles.Fault) {
	h := a.w.Header()
	body := x.Body
	if body == "" {
		body = http.StatusText(x.Status) + "\n"
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if b := body[0]; b == '{' || b == '[' {
		h.Set("Content-Type", "application/json")
	}
	if x.Status == http.StatusNoContent || x.Status == http.StatusNotModified {
		h.Del("Content-Type")
		a.w.WriteHeader(x.Status)
		return
	}
	h.Set("Content-Length", fmt.Sprint(len(body)))
	a.w.WriteHeader(x.Status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(a.w, body) // an agent that has gone needs no answer
	}
}

// cutBody ends an answer in its middle. The error makes ReverseProxy abort it.
type cutBody struct {
	io.ReadCloser
	a    *ask
	left int64
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		// One byte more tells an answer that is cut from one that was shorter.
		if n, err := b.ReadCloser.Read(p[:min(1, len(p))]); n == 0 {
			return 0, err
		}
		x := b.a.cut
		b.a.faulted(x, "truncate "+profiles.FormatSize(x.After), audit.Failed)
		_ = http.NewResponseController(b.a.w).Flush() // the head too, which may be all there is
		return 0, errCut
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

var errCut = fmt.Errorf("the profile cuts this answer off")

// truncate puts the cut over an answer that is to have one.
func (a *ask) truncate(res *http.Response) {
	if a.cut != nil && res.Body != nil && res.Body != http.NoBody && res.StatusCode != http.StatusSwitchingProtocols {
		res.Body = &cutBody{res.Body, a, a.cut.After}
	}
}
