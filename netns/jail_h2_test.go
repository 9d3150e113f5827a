package netns

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// jailH2Raw sends one HTTP/2 request with exactly the given header fields and says what
// came back: the status, or how the stream or connection was ended.
func jailH2Raw(arg string) string {
	var a struct {
		Host   string
		Fields [][2]string
	}
	if err := json.Unmarshal([]byte(arg), &a); err != nil {
		return err.Error()
	}
	t, err := jailTLSDial(fetchArg{Host: a.Host}, "h2")
	if err != nil {
		return short(err)
	}
	defer t.Close()
	if _, err := io.WriteString(t, http2.ClientPreface); err != nil {
		return short(err)
	}
	f := http2.NewFramer(t, t)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := f.WriteSettings(); err != nil {
		return short(err)
	}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, kv := range a.Fields {
		if err := enc.WriteField(hpack.HeaderField{Name: kv[0], Value: kv[1]}); err != nil {
			return err.Error()
		}
	}
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true}); err != nil {
		return short(err)
	}
	status := ""
	for {
		frame, err := f.ReadFrame()
		if errors.Is(err, io.EOF) {
			return "closed"
		}
		if err != nil {
			return short(err)
		}
		switch v := frame.(type) {
		case *http2.MetaHeadersFrame:
			status = v.PseudoValue("status")
			if v.StreamEnded() {
				return status
			}
		case *http2.DataFrame:
			if v.StreamEnded() {
				return status + " " + string(v.Data())
			}
			status += " " + string(v.Data())
		case *http2.RSTStreamFrame:
			return fmt.Sprintf("reset %v", v.ErrCode)
		case *http2.GoAwayFrame:
			return fmt.Sprintf("goaway %v", v.ErrCode)
		}
	}
}
