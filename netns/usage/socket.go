package usage

// SocketReader reads what a host sends over a WebSocket on which the Responses API is
// spoken: each message is an event, and one response follows the other.
type SocketReader struct {
	result func(Result)
	r      *Reader
}

// NewSocketReader makes a reader for one direction of a WebSocket. result is called for
// each response that the host has finished with.
func NewSocketReader(result func(Result)) *SocketReader {
	s := &SocketReader{result: result}
	s.reset()
	return s
}

func (s *SocketReader) reset() {
	s.r = NewReader(OpenAI)
	s.r.form = formEvents
}

// Text takes a piece of a message.
func (s *SocketReader) Text(p []byte) { s.r.data(p) }

// End is behind the last piece of a message.
func (s *SocketReader) End() {
	s.r.dispatch()
	if s.r.c.(*openAI).over {
		s.result(s.r.Result())
		s.reset()
	}
}

// Close gives what was said of a response that the host did not finish with.
func (s *SocketReader) Close() {
	if res := s.r.Result(); res.Seen != Unknown || len(res.Tools) > 0 || res.Model != "" {
		s.result(res)
	}
	s.reset()
}
