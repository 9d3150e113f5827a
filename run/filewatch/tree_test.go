package filewatch

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// view is what the host's folder and the layer have, by path.
type view struct{ lower, upper map[string]kind }

func (v view) below(p string) kind { return v.lower[p] }
func (v view) now(p string) kind   { return v.upper[p] }

// script tells a tree of events, a line each, and gives the changes that it makes of them.
// Folders and files are named by letters; R is the root, W the overlay's own folder.
//
//	create W/#1 a   create R/d/ b   write R/x   delete R/x a   rename W/#1 R/x a   rename W/#1/ R/d/ b
func script(t *testing.T, v view, writes bool, lines string) string {
	t.Helper()
	var got []string
	tr := newTree("R", v, writes, func(c Change) {
		text := string(c.Op) + " " + c.Path
		if c.Old != "" {
			text = string(c.Op) + " " + c.Old + ">" + c.Path
		}
		if c.Dir {
			text += "/"
		}
		got = append(got, text)
	})
	for line := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
		words := strings.Fields(line)
		dir := strings.HasSuffix(words[1], "/")
		at := func(s string) place {
			d, name, ok := strings.Cut(strings.TrimSuffix(s, "/"), "/")
			if !ok {
				t.Fatal(line)
			}
			return place{d, name}
		}
		r := record{at: at(words[1]), target: words[len(words)-1]}
		switch words[0] {
		case "create":
			r.mask = unix.FAN_CREATE
		case "write":
			r.mask, r.target = unix.FAN_CLOSE_WRITE, ""
		case "delete":
			r.mask = unix.FAN_DELETE
		case "both":
			r.mask = unix.FAN_CREATE | unix.FAN_CLOSE_WRITE | unix.FAN_DELETE
		case "rename":
			r.mask, r.old, r.to, r.at = unix.FAN_RENAME, at(words[1]), at(words[2]), place{}
		default:
			t.Fatal(line)
		}
		if dir {
			r.mask |= unix.FAN_ONDIR
		}
		tr.take(r)
	}
	return strings.Join(got, ", ")
}

// The events are those of Linux 6.18 for the commands of the names, but for attributes.
func TestTree(t *testing.T) {
	lower := map[string]kind{"a": file, "d": folder, "d/e": folder, "d/e/b": file, "l": other}
	for name, c := range map[string]struct {
		events, want string
		upper        map[string]kind
		blind        bool // the kernel does not tell of writes
	}{
		"echo >new": {events: "create R/new a\nwrite R/new", want: "created new, modified new"},
		"mkdir -p n/m; echo >n/m/x": {events: "create R/n/ n\ncreate n/m/ m\ncreate m/x x\nwrite m/x",
			want: "created n/, created n/m/, created n/m/x, modified n/m/x"},
		"echo >>a":                        {events: "create R/a a\nwrite R/a\nwrite W/#8", want: "modified a"},
		"echo >>a, and no word of writes": {events: "create R/a a", blind: true, want: "modified a"},
		"mktemp; rm":                      {events: "both R/x x", want: "created x, modified x, deleted x"},
		"mkdir t; echo >t/x; rm -r t, all at once": {events: "both R/t/ t\nboth t/x x", want: "created t/, deleted t/, created t/x, modified t/x, deleted t/x"},
		"mv d/e/b d/e/c": {events: "create W/#1/ d\nrename W/#1/ R/d/ d\ncreate W/#2/ e\nrename W/#2/ d/e/ e\ncreate e/b b\nrename e/b e/c b",
			want: "renamed d/e/b>d/e/c"},
		"rm a": {events: "create W/#1 w\ncreate W/#2 w\nrename W/#2 R/a w", want: "deleted a"},
		// What lies there is looked at, where the whiteout has not been linked before.
		"rm a, the whiteout itself": {events: "create W/#1 w\nrename W/#1 R/a w", upper: map[string]kind{"a": whiteout}, want: "deleted a"},
		"rm a; and it is gone":      {events: "create W/#1 w\nrename W/#1 R/a w", want: "deleted a"},
		"rmdir d; mkdir d":          {events: "rename W/#1 R/d w", upper: map[string]kind{"d": folder}, want: "deleted d/"},
		"rm -r d": {events: `
			rename W/#1/ R/d/ d
			rename W/#2/ d/e/ e
			create W/#3 w
			create W/#4 w
			rename W/#4 e/b w
			rename W/#5/ d/e/ o
			rename d/e/ W/#5/ e
			delete e/b w
			delete W/#5/ e
			create W/#6 w
			rename W/#6 d/e w
			rename d/e/ W/#6/ o
			delete W/#6/ o
			create W/#7 w
			rename W/#7 R/d w
			rename R/d/ W/#7/ d`, want: "deleted d/e/b, deleted d/e/, deleted d/"},
		"mkdir d, which was removed": {events: "create W/#3 w\ncreate W/#4 w\nrename W/#4 R/d w\ncreate W/#5/ n\nrename W/#5/ R/d/ n\nrename R/d W/#5 w\ncreate n/e/ m\ndelete W/#5 w",
			want: "deleted d/, created d/, created d/e/"},
		"echo >a, which was removed": {events: "create W/#3 w\ncreate W/#4 w\nrename W/#4 R/a w\ncreate W/#5 n\nrename W/#5 R/a n\nwrite R/a", upper: map[string]kind{"a": file},
			want: "deleted a, modified a"},
		"ln -sf x l":                          {events: "create W/#5 n\nrename W/#5 R/l n", upper: map[string]kind{"l": other}, want: "modified l"},
		"mkdir n; mv n m; echo >m/x; rm -r m": {events: "create R/n/ n\nrename R/n/ R/m/ n\ncreate n/x x\ndelete n/x x\ndelete R/m/ n", want: "created n/, renamed n>m/, created m/x, deleted m/x, deleted m/"},
		"mv between folders":                  {events: "create R/n/ n\ncreate R/m/ m\ncreate n/o/ o\nrename n/o/ m/p/ o\ncreate o/x x", want: "created n/, created m/, created n/o/, renamed n/o>m/p/, created m/p/x"},
		"folders that change places":          {events: "create R/n/ n\ncreate R/m/ m\nrename R/n/ R/m/ n\nrename R/m/ R/n/ m\ncreate n/x x\ncreate m/y y", want: "created n/, created m/, renamed n>m/, renamed m>n/, created m/x, created n/y"},
		"what is not known":                   {events: "create X/x x\nwrite X/x\ndelete X/x x\nrename X/a X/b a\ncreate X/d/ d\ncreate d/x x"},
		"a folder in itself":                  {events: "create R/n/ n\nrename R/n/ n/n/ n\ncreate n/x x", want: "created n/, renamed n>n/n/"},
		"the root under another name":         {events: "rename R/x/ R/y/ R\ncreate R/z z", want: "renamed x>y/, created z"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := script(t, view{lower, c.upper}, !c.blind, c.events); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// Any number of folders costs little.
func TestTreeBounded(t *testing.T) {
	n := 0
	tr := newTree("R", view{}, true, func(Change) { n++ })
	for i := range 2 * maxFolders {
		tr.created(tr.root, fmt.Sprint(i), fmt.Sprint(i), true)
		tr.created(nil, fmt.Sprint(i), fmt.Sprint("f", i), false)
		tr.created(nil, fmt.Sprint(i), fmt.Sprint("f", i), false)
	}
	if n != 2*maxFolders || len(tr.nodes) > maxFolders || len(tr.made) > maxMade || len(tr.white) > maxWhiteouts || !tr.full {
		t.Errorf("%d told, %d folders, %d made, %d whiteouts, full %v", n, len(tr.nodes), len(tr.made), len(tr.white), tr.full)
	}
	for i := range 2 * maxFolders {
		tr.deleted(tr.root, fmt.Sprint(i), fmt.Sprint(i), true)
	}
	tr.idle()
	if len(tr.nodes) != 1 || len(tr.root.folders) != 0 {
		t.Errorf("%d folders are left", len(tr.nodes))
	}
}

// event makes one as the kernel does.
func event(mask uint64, infos ...[]byte) []byte {
	b := make([]byte, 24)
	b[4] = unix.FANOTIFY_METADATA_VERSION
	binary.NativeEndian.PutUint16(b[6:], 24)
	binary.NativeEndian.PutUint64(b[8:], mask)
	b = append(b, slices.Concat(infos...)...)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	return b
}

func info(typ byte, handle, name string) []byte {
	b := make([]byte, 20)
	b[0] = typ
	binary.NativeEndian.PutUint32(b[12:], uint32(len(handle)))
	binary.NativeEndian.PutUint32(b[16:], 1)
	b = append(b, handle...)
	if typ != unix.FAN_EVENT_INFO_TYPE_FID {
		b = append(b, name...)
		b = append(b, 0)
	}
	for len(b)%4 != 0 { // FANOTIFY_EVENT_ALIGN
		b = append(b, 0)
	}
	binary.NativeEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

func TestParseRecords(t *testing.T) {
	made := event(unix.FAN_CREATE, info(unix.FAN_EVENT_INFO_TYPE_DFID_NAME, "dir-handle--", "name"), info(unix.FAN_EVENT_INFO_TYPE_FID, "file-handle-", ""))
	moved := event(unix.FAN_RENAME, info(unix.FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, "a", "old"), info(unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME, "b", "new"), info(99, "", ""), info(unix.FAN_EVENT_INFO_TYPE_FID, "c", ""))
	full := event(unix.FAN_Q_OVERFLOW)
	var got []record
	if err := parseRecords(slices.Concat(made, full, moved), func(r record) { got = append(got, r) }); err != nil {
		t.Fatal(err)
	}
	key := func(h string) string { return handleKey(1, []byte(h)) }
	want := []record{
		{mask: unix.FAN_CREATE, at: place{key("dir-handle--"), "name"}, target: key("file-handle-")},
		{mask: unix.FAN_Q_OVERFLOW},
		{mask: unix.FAN_RENAME, old: place{key("a"), "old"}, to: place{key("b"), "new"}, target: key("c")},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
	version := slices.Clone(made)
	version[4] = 9
	long := slices.Clone(made)
	binary.NativeEndian.PutUint32(long[24+12:], 1<<31)
	zero := slices.Clone(made)
	binary.NativeEndian.PutUint16(zero[24+2:], 0)
	for name, b := range map[string][]byte{"cut": made[:len(made)-1], "a head that is cut": made[:10], "another version": version, "a handle that is too long": long, "a record without a size": zero} {
		if err := parseRecords(b, func(record) {}); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestParseInotify(t *testing.T) {
	one := func(wd int32, mask, cookie uint32, name string) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(wd))
		b = binary.NativeEndian.AppendUint32(b, mask)
		b = binary.NativeEndian.AppendUint32(b, cookie)
		b = binary.NativeEndian.AppendUint32(b, uint32(len(name)))
		return append(b, name...)
	}
	all := slices.Concat(one(1, unix.IN_CREATE, 0, "name\x00\x00\x00"), one(-1, unix.IN_Q_OVERFLOW, 0, ""), one(2, unix.IN_MOVED_TO, 7, "x\x00"))
	var got []string
	take := func(wd int32, mask, cookie uint32, name string) {
		got = append(got, fmt.Sprintf("%d %d %d %s", wd, mask, cookie, name))
	}
	if err := parseInotify(all, take); err != nil || fmt.Sprint(got) != "[1 256 0 name -1 16384 0  2 128 7 x]" {
		t.Errorf("%q %v", got, err)
	}
	for _, n := range []int{len(all) - 1, 8} {
		if err := parseInotify(all[:n], take); err == nil {
			t.Errorf("%d bytes were taken", n)
		}
	}
}

func FuzzParseInotify(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00abc\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		if err := parseInotify(data, func(_ int32, _, _ uint32, name string) { n += 16 + len(name) }); err == nil && n > len(data) {
			t.Errorf("%d bytes of %d", n, len(data))
		}
	})
}

func FuzzParseRecords(f *testing.F) {
	f.Add(event(unix.FAN_CREATE|unix.FAN_ONDIR, info(unix.FAN_EVENT_INFO_TYPE_DFID_NAME, "R", "d"), info(unix.FAN_EVENT_INFO_TYPE_FID, "d", "")))
	f.Add(slices.Concat(event(unix.FAN_Q_OVERFLOW), event(unix.FAN_RENAME, info(unix.FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, "R", "d"), info(unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME, "d", "e"), info(unix.FAN_EVENT_INFO_TYPE_FID, "d", ""))))
	f.Fuzz(func(t *testing.T, data []byte) {
		tr := newTree(handleKey(1, []byte("R")), view{}, true, func(c Change) {
			if c.Path == "" {
				t.Errorf("%+v", c)
			}
		})
		tr.root.name = "root"
		_ = parseRecords(data, func(r record) {
			if r.at.name != "" || r.old.name != "" && r.to.name != "" {
				tr.take(r)
			}
		})
	})
}
