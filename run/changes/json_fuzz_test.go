package changes

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzReadJSON reads a list of changes that somebody else made: what is read is the
// same when it was written and is read again.
func FuzzReadJSON(f *testing.F) {
	f.Add([]byte(`{"schema":1,"complete":true,"unread":[],"changes":[{"path":"a","op":"create","after":{"type":"file","mode":"0644","size":1}}]}`))
	f.Add([]byte(`{"schema":1,"changes":[{"path":"a","path_base64":"/w==","op":"delete","before":{"type":"symlink","mode":"0777","target":"x"}}]}`))
	f.Add([]byte(`{"schema":1,"unread":[{"path":"a","reason":"x"}]}`))
	f.Add([]byte(`{"schema":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := ReadJSON(bytes.NewReader(b))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := list.WriteJSON(&out); err != nil {
			t.Fatal(err)
		}
		again, err := ReadJSON(&out)
		if err != nil {
			t.Fatalf("what was written can't be read: %v\n%s", err, out.Bytes())
		}
		if d := cmp.Diff(list, again, cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(List{}, Change{}, FileState{}, Unread{})); d != "" {
			t.Errorf("read again it is another:\n%s", d)
		}
	})
}

// FuzzReadManifest is the same for the artifacts' list.
func FuzzReadManifest(f *testing.F) {
	f.Add([]byte(`{"schema":1,"files":[{"path":"a","stored":"b","size":1,"mode":"0644","sha256":"00"}],"size":1,"left_out":[{"path":"c","type":"fifo","reason":"x"}]}`))
	f.Add([]byte(`{"files":[{"path":"\ufffd","path_base64":"/w=="}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again Manifest
		if json.Unmarshal(b, &m) != nil {
			return
		}
		out, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out, &again); err != nil {
			t.Fatalf("what was written can't be read: %v\n%s", err, out)
		}
		if d := cmp.Diff(m, again, cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(Artifact{}, LeftOut{})); d != "" {
			t.Errorf("read again it is another:\n%s", d)
		}
	})
}
