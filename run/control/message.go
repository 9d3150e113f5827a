package control

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Version is of the protocol. A client and a supervisor of different ones say so
// instead of guessing what the other meant.
const Version = 1

const (
	// maxRequest bounds what a client may say at once.
	maxRequest = 64 << 10

	// maxResponse bounds what a supervisor may answer at once.
	maxResponse = 4 << 20
)

// request is one line of a client's.
type request struct {
	Version int             `json:"version"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params,omitempty"`
}

// response is one line of the supervisor's.
type response struct {
	Version int             `json:"version"`
	Error   string          `json:"error,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
}

var errTooLong = errors.New("the message is too long")

// readLine reads one message of at most max bytes, its line feed included.
func readLine(r *bufio.Reader, max int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > max {
			return nil, errTooLong
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		}
		return nil, err
	}
}

// parseRequest reads a request. What it does not know it refuses, so that no word of a
// client is silently without effect.
func parseRequest(line []byte) (request, error) {
	var q request
	if err := strict(line, &q); err != nil {
		return request{}, fmt.Errorf("the request can't be read: %w", err)
	}
	if q.Version != Version {
		return request{}, fmt.Errorf("this run speaks version %d of the protocol, and the request is of version %d", Version, q.Version)
	}
	return q, nil
}

// Params decodes a method's parameters; none at all leave v as it is.
func Params(data json.RawMessage, v any) error {
	if len(data) == 0 {
		return nil
	}
	if err := strict(data, v); err != nil {
		return fmt.Errorf("the parameters can't be read: %w", err)
	}
	return nil
}

// strict decodes exactly one JSON value, without fields that v has not.
func strict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the message")
	}
	return nil
}

// frame writes a value as one line.
func frame(v any, max int) ([]byte, error) {
	data, err := json.Marshal(v) // no line feed is in it: JSON escapes those within strings
	if err != nil {
		return nil, err
	}
	if len(data)+1 > max {
		return nil, errTooLong
	}
	return append(data, '\n'), nil
}
