package changes

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// aclOf is an access control list as the kernel has it (linux/posix_acl_xattr.h): the
// owner, one other user, the group, the mask and the rest.
func aclOf(user uint32) []byte {
	var b bytes.Buffer
	put := func(x any) { _ = binary.Write(&b, binary.LittleEndian, x) } // a Buffer never fails
	put(uint32(2))
	for _, e := range []struct {
		Tag, Perm uint16
		ID        uint32
	}{{1, 6, 1<<32 - 1}, {2, 4, user}, {4, 4, 1<<32 - 1}, {16, 4, 1<<32 - 1}, {32, 0, 1<<32 - 1}} {
		put(e)
	}
	return b.Bytes()
}

func getAttr(t *testing.T, path, name string) []byte {
	t.Helper()
	buf := make([]byte, maxAttr)
	n, err := unix.Lgetxattr(path, name, buf)
	if errors.Is(err, unix.ENODATA) {
		return nil
	}
	must(t, err)
	return buf[:n]
}

// TestApplyKeepsAttributes: a file that is replaced keeps the host's own attributes and
// list, what a jail's file had never comes, and undo gives deleted files theirs back.
func TestApplyKeepsAttributes(t *testing.T) {
	host := t.TempDir()
	write := func(name, content string) string {
		p := filepath.Join(host, name)
		must(t, os.WriteFile(p, []byte(content), 0o640))
		return p
	}
	changed, deleted, plain := write("changed", "old\n"), write("deleted", "gone\n"), write("plain", "old\n")
	if err := unix.Setxattr(changed, "user.mine", []byte("kept"), 0); errors.Is(err, unix.ENOTSUP) {
		t.Skip("the folder for temporary files has no user.* attributes (a tmpfs before Linux 6.6)")
	} else {
		must(t, err)
	}
	must(t, unix.Setxattr(deleted, "user.mine", []byte("back"), 0))
	acl := aclOf(12345)
	must(t, unix.Setxattr(changed, aclAttr, acl, 0))
	root := os.Geteuid() == 0
	if root {
		// cap_net_raw=ep, VFS_CAP_REVISION_2 of linux/capability.h.
		must(t, unix.Setxattr(changed, "security.capability", []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0))
		must(t, unix.Setxattr(changed, "trusted.mine", []byte("x"), 0))
	}
	// New files of the folder get a list of it, which is none of the replaced ones'.
	def := aclOf(54321)
	must(t, unix.Setxattr(host, "system.posix_acl_default", def, 0))
	before := map[string][]byte{}
	for _, p := range []string{changed, deleted, plain} {
		before[p] = getAttr(t, p, aclAttr)
	}

	sum := func(s string) string { return sumOf([]byte(s)) }
	at := func(n int64) *int64 { return &n }
	state := func(content string, mode FileMode, where *int64) *FileState {
		return &FileState{Type: TypeFile, Mode: mode, Size: int64(len(content)), SHA256: sum(content), At: where,
			Attributes: map[string][]byte{"user.evil": []byte("x"), "security.capability": []byte("x")}} // of a forged list
	}
	l := left{&List{Complete: true, Changes: []Change{
		{Op: audit.FileModified, Path: "changed", Before: state("old\n", modeOf(t, changed), nil), After: state("new!\n", 0o640, at(0))},
		{Op: audit.FileDeleted, Path: "deleted", Before: state("gone\n", modeOf(t, deleted), nil)},
		{Op: audit.FileModified, Path: "plain", Before: state("old\n", modeOf(t, plain), nil), After: state("new!\n", 0o640, at(0))},
	}}, bytes.NewReader([]byte("new!\n"))}
	p := plan(t, host, l, ApplyOptions{})
	journal := t.TempDir()
	must(t, p.Commit(journal, host))
	if got, err := os.ReadFile(changed); err != nil || string(got) != "new!\n" {
		t.Fatalf("it was not applied: %q %v\n%v", got, err, outcomes(p))
	}
	if got := getAttr(t, changed, "user.mine"); string(got) != "kept" {
		t.Errorf("user.mine is %q", got)
	}
	if got := getAttr(t, changed, aclAttr); !bytes.Equal(got, acl) {
		t.Errorf("the list is %x, want %x", got, acl)
	}
	if got := getAttr(t, plain, aclAttr); !bytes.Equal(got, before[plain]) {
		t.Errorf("a file without a list got %x", got)
	}
	for _, name := range []string{"user.evil", "security.capability", "trusted.mine"} {
		if got := getAttr(t, changed, name); got != nil {
			t.Errorf("%s is %q", name, got)
		}
	}

	list, data, err := ReadUndo(journal)
	must(t, err)
	defer data.Close()
	undo, err := PlanApply(openRoot(t, host), list, data, ApplyOptions{Undo: true})
	must(t, err)
	must(t, undo.Commit(t.TempDir(), host))
	if got := getAttr(t, deleted, "user.mine"); string(got) != "back" {
		t.Errorf("user.mine of what came back is %q", got)
	}
	for _, p := range []string{changed, deleted, plain} {
		if got := getAttr(t, p, aclAttr); !bytes.Equal(got, before[p]) {
			t.Errorf("%s: the list is %x after undo, want %x", p, got, before[p])
		}
	}
	if got := getAttr(t, changed, "user.mine"); string(got) != "kept" {
		t.Errorf("user.mine is %q after undo", got)
	}
}

func modeOf(t *testing.T, path string) FileMode {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return FileMode(st.Mode & 0o7777)
}
