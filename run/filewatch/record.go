package filewatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// place is a name in a folder, which is known by its handle.
type place struct {
	dir  string // handle: its type and its bytes
	name string
}

// record is one event as fanotify(7) has it.
type record struct {
	mask   uint64
	at     place // of all but renames
	old    place
	to     place
	target string // handle of what it is about
}

var errRecord = errors.New("a fanotify event is not of the form that fanotify(7) describes")

// parseRecords takes apart what one read gave: struct fanotify_event_metadata, each
// followed by records of struct fanotify_event_info_fid (linux/fanotify.h).
func parseRecords(b []byte, take func(record)) error {
	const head = 24 // FAN_EVENT_METADATA_LEN
	for len(b) > 0 {
		if len(b) < head {
			return errRecord
		}
		size := binary.NativeEndian.Uint32(b)
		if b[4] != unix.FANOTIFY_METADATA_VERSION {
			return fmt.Errorf("fanotify speaks version %d, and this agentjail %d", b[4], unix.FANOTIFY_METADATA_VERSION)
		}
		infos := binary.NativeEndian.Uint16(b[6:])
		if infos < head || uint64(size) < uint64(infos) || uint64(size) > uint64(len(b)) {
			return errRecord
		}
		r := record{mask: binary.NativeEndian.Uint64(b[8:])}
		if err := r.parseInfos(b[infos:size]); err != nil {
			return err
		}
		take(r)
		b = b[size:]
	}
	return nil
}

func (r *record) parseInfos(b []byte) error {
	const head, fixed = 4, 20 // to the end of fsid, handle_bytes and handle_type
	for len(b) > 0 {
		if len(b) < head {
			return errRecord
		}
		size := int(binary.NativeEndian.Uint16(b[2:]))
		if size < head || size > len(b) {
			return errRecord
		}
		info := b[:size]
		b = b[size:]
		switch info[0] {
		case unix.FAN_EVENT_INFO_TYPE_FID, unix.FAN_EVENT_INFO_TYPE_DFID_NAME, unix.FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
		default:
			continue
		}
		if size < fixed {
			return errRecord
		}
		n := binary.NativeEndian.Uint32(info[12:])
		if uint64(n) > uint64(size-fixed) {
			return errRecord
		}
		handle := handleKey(int32(binary.NativeEndian.Uint32(info[16:])), info[fixed:fixed+int(n)])
		name, _, _ := bytes.Cut(info[fixed+int(n):], []byte{0})
		at := place{handle, string(name)}
		switch info[0] {
		case unix.FAN_EVENT_INFO_TYPE_FID:
			r.target = handle
		case unix.FAN_EVENT_INFO_TYPE_DFID_NAME:
			r.at = at
		case unix.FAN_EVENT_INFO_TYPE_OLD_DFID_NAME:
			r.old = at
		case unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
			r.to = at
		}
	}
	return nil
}

// handleKey makes one text of a handle.
func handleKey(typ int32, handle []byte) string {
	b := binary.NativeEndian.AppendUint32(make([]byte, 0, 4+len(handle)), uint32(typ))
	return string(append(b, handle...))
}

// take tells a tree of an event. The kernel makes one of several about the same name of
// the same file, if they are in its queue together: they came in this order.
func (t *tree) take(r record) {
	dir := r.mask&unix.FAN_ONDIR != 0
	if r.mask&unix.FAN_CREATE != 0 {
		t.created(t.nodes[r.at.dir], r.at.name, r.target, dir)
	}
	if r.mask&unix.FAN_CLOSE_WRITE != 0 && !dir {
		t.written(t.nodes[r.at.dir], r.at.name)
	}
	if r.mask&unix.FAN_DELETE != 0 {
		t.deleted(t.nodes[r.at.dir], r.at.name, r.target, dir)
	}
	if r.mask&unix.FAN_RENAME != 0 {
		t.renamed(t.nodes[r.old.dir], r.old.name, t.nodes[r.to.dir], r.to.name, r.target, dir)
	}
}
