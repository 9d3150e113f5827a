package netns

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// The control socket between supervisor and gateway is a stream of frames:
//
//	+----------------+------------------+
//	| length, 4 bytes| JSON, length     |
//	+----------------+------------------+
//
//	supervisor ──▶ gateway   one start; behind it, where it has a CA, the Keys
//	supervisor ──▶ gateway   end of stream: stop
//	gateway ──▶ supervisor   one ready, then one report after the other
//	gateway ──▶ supervisor   a question among them (questions.go)
//	supervisor ──▶ gateway   its answer
//	gateway ──▶ supervisor   end of stream: all connections are closed and reported
//
// The supervisor trusts a report no further than this: it is one of nine records,
// of bounded size, and says nothing about the program in the jail that made it (which
// the supervisor finds out by itself: errand_wire.go, namer.go). A
// question it trusts no further than answers.go says.
const (
	maxStart  = 16 << 20
	maxReport = 64 << 10
)

// start is all that the gateway is told.
type start struct {
	Network profiles.Network `json:"network"`
	Link    LinkPlan         `json:"link"`
	Sockets []int            `json:"sockets"` // indexes into Link.Sockets of the descriptors that follow the control socket
	Proxy   ProxyEnv         `json:"proxy"`

	UpstreamCAs map[string][]byte `json:"upstream_cas,omitempty"` // PEM, by the path in the profile
	CA          []byte            `json:"ca,omitempty"`           // certificate; its key and the secrets follow the message
	Secrets     []Secret          `json:"secrets,omitempty"`

	Budgets []profiles.Budget `json:"budgets,omitempty"`
	Learn   bool              `json:"learn,omitempty"`

	SSHAgent *profiles.SSHAgent `json:"ssh_agent,omitempty"`
	Prices   []profiles.Price   `json:"prices,omitempty"` // the profile's own
}

// report is one message of the gateway; exactly one field is set.
type report struct {
	Ready   *ready               `json:"ready,omitempty"`
	Connect *audit.Connect       `json:"connect,omitempty"`
	Closed  *audit.ConnectClosed `json:"closed,omitempty"`
	DNS     *audit.DNS           `json:"dns,omitempty"`
	HTTP    *audit.HTTP          `json:"http,omitempty"`
	Limit   *audit.LimitHit      `json:"limit,omitempty"`
	Finding *audit.Finding       `json:"finding,omitempty"`
	Model   *audit.ModelCall     `json:"model,omitempty"`
	Tool    *audit.ModelTool     `json:"tool,omitempty"`

	Signature *audit.Signature `json:"signature,omitempty"`

	Question *question `json:"question,omitempty"`

	// Who is the connection's number, by which the errand for its program was sent; it
	// comes beside a record.
	Who uint64 `json:"who,omitempty"`
}

// ready says that the gateway is confined and serves.
type ready struct {
	Layers []audit.Layer `json:"layers"`
}

// record checks a report and takes the record out of it. What only the supervisor
// can know is cleared.
func (r report) record() (audit.Record, error) {
	var out []audit.Record
	if r.Connect != nil {
		c := *r.Connect
		c.Process = audit.Process{}
		out = append(out, c)
	}
	if r.Closed != nil {
		out = append(out, *r.Closed)
	}
	if r.DNS != nil {
		d := *r.DNS
		d.Process = audit.Process{}
		out = append(out, d)
	}
	if r.HTTP != nil {
		h := *r.HTTP
		h.Process = audit.Process{}
		out = append(out, h)
	}
	if r.Limit != nil {
		l := *r.Limit
		l.Process = audit.Process{}
		out = append(out, l)
	}
	if r.Finding != nil {
		f := *r.Finding
		f.Process = audit.Process{}
		out = append(out, f)
	}
	if r.Signature != nil {
		s := *r.Signature
		s.Process = audit.Process{}
		out = append(out, s)
	}
	if r.Model != nil {
		m := *r.Model
		m.Process = audit.Process{}
		out = append(out, m)
	}
	if r.Tool != nil {
		t := *r.Tool
		t.Process = audit.Process{}
		out = append(out, t)
	}
	if len(out) != 1 || r.Ready != nil || r.Question != nil {
		return nil, errors.New("report holds no single record")
	}
	return out[0], nil
}

// writeFrame writes one frame with one call.
func writeFrame(w io.Writer, v any, limit int) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > limit {
		return fmt.Errorf("message of %d bytes is longer than %d", len(body), limit)
	}
	frame := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body)))
	_, err = w.Write(append(frame, body...))
	return err
}

// readFrame reads one frame into v; io.EOF is the end between two frames.
func readFrame(r io.Reader, v any, limit int) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > uint32(limit) {
		return fmt.Errorf("message of %d bytes is longer than %d", size, limit)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return fmt.Errorf("message cut short: %w", err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("malformed message: %w", err)
	}
	return nil
}
