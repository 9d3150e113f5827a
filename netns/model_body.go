package netns

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/agentjail/agentjail/netns/usage"
	"github.com/agentjail/agentjail/profiles"
)

const (
	// maxHeldBody is the largest request that Anthropic's Messages API takes
	// (https://docs.claude.com/en/api/overview#request-size-limits).
	maxHeldBody = 32 << 20

	// maxHeld bounds all bodies that are held at once: the agent decides how many.
	maxHeld = 64 << 20

	heldChunk = 64 << 10

	// maxHeldDecoded bounds the work on a body that is compressed. What is larger
	// decoded is not read by any provider.
	maxHeldDecoded = 256 << 20
)

var (
	errHeldTooLarge = fmt.Errorf("the body is larger than %s, the profile has a budget for models, and it must be known which model is asked before anything is sent", profiles.FormatSize(maxHeldBody))
	errHeldTooMuch  = errors.New("too many large requests are being sent to models at once; try again")
	errHeldCoding   = errors.New("the body is coded in a way that can't be read, and the profile has a budget for models")
)

// heldBody is a request's body that is read whole before anything of it is sent.
type heldBody struct {
	pool   *atomic.Int64 // bytes that all bodies together hold
	chunks [][]byte
	size   int64
	taken  int64
}

// fill reads the body to its end.
func (h *heldBody) fill(r io.Reader) error {
	for {
		if h.pool.Add(heldChunk) > maxHeld {
			h.pool.Add(-heldChunk)
			return errHeldTooMuch
		}
		h.taken += heldChunk
		chunk := make([]byte, heldChunk)
		n, err := io.ReadFull(r, chunk)
		h.chunks, h.size = append(h.chunks, chunk[:n]), h.size+int64(n)
		switch {
		case h.size > maxHeldBody:
			return errHeldTooLarge
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// reader gives the bytes as they came.
func (h *heldBody) reader() io.Reader {
	parts := make([]io.Reader, len(h.chunks))
	for i, c := range h.chunks {
		parts[i] = bytes.NewReader(c)
	}
	return io.MultiReader(parts...)
}

// read finds out what the body asks for, also where it is compressed (Codex does that).
func (h *heldBody) read(head http.Header) (*usage.RequestReader, error) {
	body, err := decoded(&http.Response{Header: head.Clone(), Body: io.NopCloser(h.reader())})
	if err != nil {
		return nil, errHeldCoding
	}
	defer body.Close()
	asked := usage.NewRequestReader()
	n, err := io.Copy(asked, io.LimitReader(body, maxHeldDecoded+1))
	if err != nil || n > maxHeldDecoded {
		return nil, errHeldCoding
	}
	return asked, nil
}

// release gives back what is held.
func (h *heldBody) release() {
	h.pool.Add(-h.taken)
	h.taken, h.chunks = 0, nil
}
