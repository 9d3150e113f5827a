package audit

import (
	"cmp"
	"fmt"
	"path"
	"time"
)

// file: a rename's old state is file, its new one file_result.
func (s source) file(r File, at time.Time) (header, object) {
	var u object
	if r.Artifact {
		u.flag("artifact", true)
	}
	return s.fileEvent(r, at, s.fileState(r), u)
}

func (s source) fileEvent(r File, at time.Time, state, u object) (header, object) {
	h := header{
		class:    fileActivity(),
		severity: informational(),
		verdict:  observed(success()),
		message:  cmp.Or(r.Type, "file") + " " + r.Path + " " + string(r.Op),
		at:       at,
	}
	body := s.arena.object(4)
	s.actor(&body, Process{})
	body.object("device", s.device)
	switch r.Op {
	case FileCreated:
		h.activity = activity{1, "Create"}
	case FileModified:
		h.activity = activity{3, "Update"}
	case FileDeleted:
		h.activity = activity{4, "Delete"}
	case FileRenamed:
		h.activity = activity{5, "Rename"}
	default:
		h.activity = activity{0, "Unknown"}
	}
	if r.Op == FileRenamed {
		h.message = cmp.Or(r.Type, "file") + " " + r.OldPath + " renamed to " + r.Path
		old := s.arena.object(4)
		fileName(&old, r.OldPath, r.Type)
		body.object("file", old)
		body.object("file_result", state)
	} else {
		body.object("file", state)
	}
	return h, s.root(h, body, u)
}

func (s source) fileState(r File) object {
	o := s.arena.object(7)
	fileName(&o, r.Path, r.Type)
	if r.Op == FileDeleted {
		return o
	}
	if r.SHA256 != "" {
		hash := s.arena.object(3)
		hash.own("algorithm", "SHA-256")
		hash.number("algorithm_id", 3)
		hash.text("value", r.SHA256)
		o.objects("hashes", []object{hash})
	}
	o.number("size", r.Size)
	attributes := s.arena.object(1)
	attributes.own("mode", fmt.Sprintf("%04o", r.Mode))
	o.object("xattributes", attributes)
	return o
}

func fileName(o *object, name, fileType string) {
	t := fileTypeOf(fileType)
	o.text("name", cmp.Or(path.Base(name), "unknown"))
	o.text("path", name)
	o.text("type", t.name)
	o.number("type_id", t.id)
}

// fileTypeOf maps the product's word for a kind of file to the schema's.
func fileTypeOf(s string) caption {
	switch s {
	case "file":
		return caption{1, "Regular File"}
	case "folder":
		return caption{2, "Folder"}
	case "char device":
		return caption{3, "Character Device"}
	case "block device":
		return caption{4, "Block Device"}
	case "socket":
		return caption{5, "Local Socket"}
	case "fifo":
		return caption{6, "Named Pipe"}
	case "symlink":
		return caption{7, "Symbolic Link"}
	case "":
		return caption{0, "Unknown"}
	default:
		return caption{99, s}
	}
}
