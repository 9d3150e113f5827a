package changes

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Extended attributes of the host's files (xattr(7)). What a jail left has none of its
// own: only bytes, types and modes come out of it, so that nothing of security.* or
// trusted.* can. A file that takes another's place keeps what the host's had.

// aclAttr is where a file's access control list is (acl(5)).
const aclAttr = "system.posix_acl_access"

// keptAttr says whether an attribute stays with a file whose content changes: the user's
// own, and its access control list. A capability or a label is about the content that was
// there, and the kernel too takes security.capability off a file that is written to.
func keptAttr(name string) bool { return strings.HasPrefix(name, "user.") || name == aclAttr }

// maxAttr is the most that one attribute, or the list of them, may have
// (XATTR_SIZE_MAX and XATTR_LIST_MAX of linux/limits.h).
const maxAttr = 64 << 10

// attributes reads those that stay. A file system that has none is no error.
func attributes(fd int) (map[string][]byte, error) {
	buf := make([]byte, maxAttr)
	n, err := unix.Flistxattr(fd, buf)
	if errors.Is(err, unix.ENOTSUP) || n == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list its attributes: %w", err)
	}
	var out map[string][]byte
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if !keptAttr(name) {
			continue
		}
		value := make([]byte, maxAttr)
		n, err := unix.Fgetxattr(fd, name, value)
		if errors.Is(err, unix.ENODATA) {
			continue // gone meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read its attribute %q: %w", name, err)
		}
		if out == nil {
			out = map[string][]byte{}
		}
		out[name] = value[:n]
	}
	return out, nil
}

// setAttributes gives a new file exactly these of those that stay: what it got from a
// default list of the folder that it was made in goes.
func setAttributes(fd int, attrs map[string][]byte) error {
	if _, ok := attrs[aclAttr]; !ok {
		if err := unix.Fremovexattr(fd, aclAttr); err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("remove its access control list: %w", err)
		}
	}
	for name, value := range attrs {
		if !keptAttr(name) {
			continue // an undo's list comes from a file
		}
		if err := unix.Fsetxattr(fd, name, value, 0); err != nil {
			return fmt.Errorf("keep its attribute %q: %w", name, err)
		}
	}
	return nil
}

// hostAttributes reads those of a file of the host's.
func (c *committer) hostAttributes(path string, h *hostFile) (map[string][]byte, error) {
	dir, name := splitPath(path)
	if err := c.tree.seek(dir); err != nil {
		return nil, err
	}
	f, err := c.tree.open(name, h.entry)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return attributes(int(f.Fd()))
}
