package jail

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/profiles"
)

// TestPlanSockets: what the agent only reads is shown with other inodes, what it
// writes to has its sockets masked, and what is left is said.
func TestPlanSockets(t *testing.T) {
	facts := func() Facts {
		f := hostPlaces()
		socket := Place{Path: "/run/daemon", Real: "/run/daemon", Socket: true, Dev: 1, Ino: 55}
		f.Paths["/run/daemon"] = []Place{socket}
		f.Paths["/run/*"] = []Place{socket}
		f.Sockets = []string{"/home/u/.cache/a.sock", "/run/daemon"}
		return f
	}
	for _, tt := range []struct {
		name   string
		abi    int
		edit   func(*profiles.Spec, Facts)
		kinds  map[string]MountKind // by target; "" is no mount
		masked []string
		state  string
		refuse string // part of the error
	}{
		{name: "read", abi: 7, edit: func(s *profiles.Spec, f Facts) {
			s.Files.Read, f.Sockets = patterns("/opt/tool", "/etc/services"), nil
		}, kinds: map[string]MountKind{"/opt/tool": MountView, "/usr": MountBind, "/etc/services": MountBind, "/home/u/work": MountBind},
			masked: []string{"/home/u/.cache/a.sock", "/run/daemon"}, state: "enforced"},
		{name: "something mounted below what is read", abi: 7, edit: func(s *profiles.Spec, f Facts) {
			s.Files.Read = patterns("/opt/tool")
			f.markCovers([]byte("1 2 3:4 / /opt/tool/data rw - ext4 /dev/x rw\n"))
		}, kinds: map[string]MountKind{"/opt/tool": MountBind}, masked: []string{"/home/u/.cache/a.sock", "/run/daemon"}, state: "degraded"},
		{name: "write", abi: 7, edit: func(s *profiles.Spec, f Facts) { s.Files.Write = patterns("/home/u/.cache") },
			kinds: map[string]MountKind{"/home/u/.cache": MountBind}, masked: []string{"/home/u/.cache/a.sock", "/run/daemon"}, state: "degraded"},
		{name: "write, with Landlock's right", abi: 9, edit: func(s *profiles.Spec, f Facts) { s.Files.Write = patterns("/home/u/.cache") },
			masked: []string{"/home/u/.cache/a.sock", "/run/daemon"}, state: "enforced"},
		{name: "a socket by its name", abi: 9, edit: func(s *profiles.Spec, f Facts) { s.Files.Write = patterns("/run/daemon") },
			kinds: map[string]MountKind{"/run/daemon": MountBind}, masked: []string{"/home/u/.cache/a.sock"}, state: "enforced"},
		{name: "a socket by a pattern", abi: 9, edit: func(s *profiles.Spec, f Facts) { s.Files.Write = patterns("/run/*") },
			kinds: map[string]MountKind{"/run/daemon": ""}, masked: []string{"/home/u/.cache/a.sock", "/run/daemon"}, state: "enforced"},
		{name: "a socket to read", abi: 9, edit: func(s *profiles.Spec, f Facts) { s.Files.Read = patterns("/run/daemon") }, refuse: "is a Unix socket"},
		{name: "direct", abi: 7, edit: func(s *profiles.Spec, f Facts) { s.Workspace.Mode = profiles.ModeDirect },
			kinds: map[string]MountKind{"/home/u/work": MountBind}, masked: []string{"/home/u/.cache/a.sock", "/run/daemon"}, state: "degraded"},
		{name: "readonly", abi: 7, edit: func(s *profiles.Spec, f Facts) { s.Workspace.Mode = profiles.ModeReadonly },
			kinds: map[string]MountKind{"/home/u/work": MountView}, masked: []string{"/home/u/.cache/a.sock", "/run/daemon"}, state: "enforced"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, f, host := usualSpec(), usualFeatures(), facts()
			f.LandlockABI = tt.abi
			tt.edit(s, host)
			p, err := MakePlan(s, f, host, usualRequest())
			if tt.refuse != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refuse) {
					t.Errorf("%v, want an error with %q", err, tt.refuse)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for target, kind := range tt.kinds {
				if m, _ := find(p, target); m.Kind != kind {
					t.Errorf("%s is a %q, want %q", target, m.Kind, kind)
				}
			}
			if !slices.Equal(p.Sockets.Masked, tt.masked) {
				t.Errorf("masked %q, want %q", p.Sockets.Masked, tt.masked)
			}
			for _, path := range tt.masked {
				if !slices.ContainsFunc(p.Deny, func(d DenyMask) bool { return d.Path == path }) {
					t.Errorf("no mask for %s", path)
				}
			}
			if l := p.Sockets.layer(p.Landlock); l.State != tt.state {
				t.Errorf("%+v, want it %s", l, tt.state)
			}
			// The right is that of a socket's own rule, never of a folder's.
			for _, r := range p.Landlock.Rules {
				if has := r.Rights&rightResolveUnix != 0; has != (r.Path == "/run/daemon" && tt.abi >= 9) {
					t.Errorf("the rule on %s has the right to connect: %v", r.Path, has)
				}
			}
		})
	}
}

func TestLookForSockets(t *testing.T) {
	dir := tree(t, "write/deep/er/", "read/", "work/")
	listen := func(name string) string {
		path := filepath.Join(dir, name)
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return path
	}
	listed, hidden := listen("write/a"), listen("write/deep/er/b")
	listen("read/c")
	work := listen("work/d")
	// Execute only: nobody but root can list it, and the kernel's own list has it.
	if err := os.Chmod(filepath.Join(dir, "write/deep/er"), 0o311); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[profiles.Mode][]string{
		profiles.ModeOverlay: {listed, hidden}, profiles.ModeReadonly: {listed, hidden}, profiles.ModeDirect: {work, listed, hidden},
	} {
		s := &profiles.Spec{Workspace: profiles.Workspace{Path: dir + "/work", Mode: mode},
			Files: profiles.Files{Read: patterns(dir + "/read"), Write: patterns(dir + "/write")}}
		f, err := Look(s)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(f.Sockets, want) {
			t.Errorf("%s: found %q, want %q", mode, f.Sockets, want)
		}
	}
}

func TestBoundSockets(t *testing.T) {
	const table = "Num       RefCount Protocol Flags    Type St Inode Path\n" +
		"ffff8881: 00000002 00000000 00010000 0001 01 21534 /run/systemd/private\n" +
		"ffff8882: 00000003 00000000 00000000 0001 03 21535\n" +
		"ffff8883: 00000002 00000000 00010000 0001 01 21536 @/tmp/.X11-unix/X0\n" +
		"ffff8884: 00000002 00000000 00010000 0005 01 21537 relative/path\n" +
		"ffff8885: 00000002 00000000 00010000 0001 01 21538 /home/a b/./s\n"
	got := boundSockets([]byte(table))
	if len(got) != 2 || !got["/run/systemd/private"] || !got["/home/a b/s"] {
		t.Errorf("%v", got)
	}
}

func TestMountPoints(t *testing.T) {
	const info = "36 35 98:0 /mnt1 /mnt/a\\040b\\134c rw,noatime master:1 - ext3 /dev/root rw\nshort line\n37 36 0:5 / /\\9 rw - tmpfs t rw\n"
	if got, want := mountPoints([]byte(info)), []string{`/mnt/a b\c`, `/\9`}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
