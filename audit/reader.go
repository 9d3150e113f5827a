package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
)

// MaxLine bounds a line that is read. What a Writer writes stays far below it.
const MaxLine = 1 << 20

// The reasons why a line is no event.
var (
	ErrTruncated = errors.New("the last line is cut off")
	ErrTooLong   = fmt.Errorf("the line is longer than %d bytes", MaxLine)
)

// A LineError is a line that is no event. Reading goes on behind it.
type LineError struct {
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

func (e *LineError) Unwrap() error { return e.Err }

// An Event is a line of a trail, with the attributes that agentjail itself reads.
// Raw has all of it.
type Event struct {
	Raw  []byte `json:"-"` // without the newline
	Line int    `json:"-"`

	ActionID      int               `json:"action_id"`
	ActivityID    int               `json:"activity_id"`
	ActivityName  string            `json:"activity_name"`
	Actor         EventActor        `json:"actor"`
	API           EventAPI          `json:"api"`
	App           EventApp          `json:"app"`
	Attestations  []Attestation     `json:"attestation_list"`
	ClassUID      int               `json:"class_uid"`
	Count         int64             `json:"count"`
	Connection    EventConn         `json:"connection_info"`
	DispositionID int               `json:"disposition_id"`
	Dst           EventEndpoint     `json:"dst_endpoint"`
	ExitCode      int               `json:"exit_code"`
	File          EventFile         `json:"file"`
	FileResult    EventFile         `json:"file_result"`
	Finding       EventFinding      `json:"finding_info"`
	HTTPRequest   EventHTTPRequest  `json:"http_request"`
	HTTPResponse  EventHTTPResponse `json:"http_response"`
	Message       string            `json:"message"`
	Model         EventModel        `json:"ai_model"`
	Metadata      EventMetadata     `json:"metadata"`
	Policy        EventPolicy       `json:"policy"`
	Process       EventProcess      `json:"process"`
	Query         EventQuery        `json:"query"`
	RCode         string            `json:"rcode"`
	Affected      []EventResource   `json:"resources"`
	SeverityID    int               `json:"severity_id"`
	Status        string            `json:"status"`
	StatusDetail  string            `json:"status_detail"`
	Time          int64             `json:"time"`
	TimeDT        string            `json:"time_dt"`
	Traffic       EventTraffic      `json:"traffic"`
	TypeUID       int64             `json:"type_uid"`

	Unmapped json.RawMessage `json:"unmapped"`
}

// The parts of an event, as OCSF names them.
type (
	EventActor struct {
		Process EventProcess `json:"process"`
		User    EventUser    `json:"user"`
	}
	EventUser struct {
		Name string `json:"name"`
		UID  string `json:"uid"`
	}
	EventResource struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	EventApp struct {
		Name string `json:"name"`
		UID  string `json:"uid"`
	}
	EventConn struct {
		Direction string `json:"direction"` // "Outbound" or "Inbound"
		Protocol  string `json:"protocol_name"`
		UID       string `json:"uid"`
	}
	EventEndpoint struct {
		Hostname string `json:"hostname"`
		IP       string `json:"ip"`
		Port     uint16 `json:"port"`
	}
	EventFile struct {
		Path string `json:"path"`
		Size int64  `json:"size"`
		Type string `json:"type"`
	}
	EventFinding struct {
		Title string `json:"title"`
		Desc  string `json:"desc"`
	}
	EventMetadata struct {
		CorrelationUID string `json:"correlation_uid"`
		Sequence       int64  `json:"sequence"`
		UID            string `json:"uid"`
		Version        string `json:"version"`
	}
	EventPolicy struct {
		Name string `json:"name"`
		UID  string `json:"uid"`
	}
	EventProcess struct {
		CommandLine string `json:"cmd_line"`
		Name        string `json:"name"`
		Path        string `json:"path"`
		PID         int    `json:"pid"`
	}
	EventQuery struct {
		Hostname string `json:"hostname"`
		Type     string `json:"type"`
	}
	EventTraffic struct {
		BytesIn  int64 `json:"bytes_in"`
		BytesOut int64 `json:"bytes_out"`
	}
)

// An Attestation is the link of an event in its chain.
type Attestation struct {
	ChainUID    string           `json:"chain_uid"`
	Fingerprint EventFingerprint `json:"fingerprint"`
	Previous    *PreviousEvent   `json:"prev_event"`
}

// An EventFingerprint is a digest, in hex.
type EventFingerprint struct {
	Value string `json:"value"`
}

// A PreviousEvent names the event before.
type PreviousEvent struct {
	UID         string           `json:"uid"`
	TypeUID     int64            `json:"type_uid"`
	Fingerprint EventFingerprint `json:"fingerprint"`
}

// Read gives the events of a trail. A line that is no event comes as a
// *LineError (ErrTruncated for a last line without its newline, as a crash leaves
// it) and reading goes on; an error of reading itself ends it.
func Read(r io.Reader) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		lines := newLineReader(r)
		for {
			e, err := lines.event(true)
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(e, err) {
				return
			}
			if !recoverable(err) {
				return
			}
		}
	}
}

// recoverable says whether there may be more behind an error: only where a line
// was at fault.
func recoverable(err error) bool {
	var line *LineError
	return err == nil || errors.As(err, &line)
}

// A lineReader takes a trail apart into lines of bounded length.
type lineReader struct {
	r    *bufio.Reader
	line int
	buf  []byte // of a line whose end has not been seen
	long bool   // the line is too long: its rest is skipped
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// event reads the next line as an event; final is next's.
func (l *lineReader) event(final bool) (Event, error) {
	raw, err := l.next(final)
	if err != nil {
		return Event{}, err
	}
	if !bytes.HasPrefix(raw, []byte("{")) {
		return Event{}, &LineError{l.line, errors.New("not a JSON object")}
	}
	var e Event
	if err := json.Unmarshal(raw, &e); err != nil {
		return Event{}, &LineError{l.line, err}
	}
	e.Raw, e.Line = raw, l.line
	return e, nil
}

// next gives the next line without its newline, in memory of its own. At the end
// it gives io.EOF. What has no newline is ErrTruncated if final, and otherwise
// kept, so that a file that is still being written can be read on.
func (l *lineReader) next(final bool) ([]byte, error) {
	if err := l.fill(); err != nil {
		pending := len(l.buf) > 0 || l.long
		if !errors.Is(err, io.EOF) || !pending || !final {
			return nil, err
		}
		l.line++
		l.buf, l.long = nil, false
		return nil, &LineError{l.line, ErrTruncated}
	}
	l.line++
	if l.long {
		l.buf, l.long = l.buf[:0], false
		return nil, &LineError{l.line, ErrTooLong}
	}
	raw := bytes.Clone(l.buf)
	l.buf = l.buf[:0]
	return raw, nil
}

// fill reads up to the end of a line. After an error what was read so far stays.
func (l *lineReader) fill() error {
	for {
		part, err := l.r.ReadSlice('\n')
		if err == nil {
			part = part[:len(part)-1]
		}
		if !l.long {
			l.buf = append(l.buf, part...)
			l.long = len(l.buf) > MaxLine
		}
		if l.long {
			l.buf = l.buf[:0]
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}
