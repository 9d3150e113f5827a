package jail

import (
	"strings"
	"testing"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// TestPlanLandlock: each ABI handles what it has, and never what it has not, which
// the kernel would answer with EINVAL (landlock_create_ruleset(2)).
func TestPlanLandlock(t *testing.T) {
	// The number of file rights and scopes of each ABI, from linux/landlock.h.
	for _, tt := range []struct {
		abi         int
		fs, scoped  uint64
		complete    bool
		lacks, says string
	}{
		{1, 1<<13 - 1, 0, false, "rename and link across folders", "ABI 1"},
		{2, 1<<14 - 1, 0, false, "truncate", "ABI 2"},
		{3, 1<<15 - 1, 0, false, "device ioctl", "ABI 3"},
		{4, 1<<15 - 1, 0, false, "device ioctl", "ABI 4"}, // TCP, which is package netns's
		{5, 1<<16 - 1, 0, false, "signals", "ABI 5"},
		{6, 1<<16 - 1, 3, true, "", "ABI 6"},
		{7, 1<<16 - 1, 3, true, "", "ABI 7"},
		{8, 1<<16 - 1, 3, true, "", "ABI 8"},
	} {
		p := planLandlock(tt.abi, []LandlockRule{
			{Path: "/dir", Rights: rightsWrite | ll.AccessFSExecute},
			{Path: "/file", Rights: rightsWrite, File: true},
			{Path: "/nothing", Rights: ll.AccessFSMakeDir, File: true},
		})
		if p.FS != tt.fs || p.Scoped != tt.scoped {
			t.Errorf("ABI %d handles %#x, scopes %#x, want %#x and %#x", tt.abi, p.FS, p.Scoped, tt.fs, tt.scoped)
		}
		if len(p.Rules) != 2 {
			t.Errorf("ABI %d: rules %+v; one that grants nothing must go (EINVAL)", tt.abi, p.Rules)
		}
		for _, r := range p.Rules {
			if r.Rights&^p.FS != 0 {
				t.Errorf("ABI %d: %s has rights that are not handled: %#x", tt.abi, r.Path, r.Rights&^p.FS)
			}
			if r.File && r.Rights&^rightsOfFile != 0 {
				t.Errorf("ABI %d: the file %s has a folder's rights: %#x", tt.abi, r.Path, r.Rights)
			}
		}
		detail, complete := p.describe()
		if complete != tt.complete || !strings.Contains(detail, tt.says) || !strings.Contains(detail, tt.lacks) {
			t.Errorf("ABI %d is described as %q, %v", tt.abi, detail, complete)
		}
	}
	for name, rights := range map[string]uint64{"read": rightsRead, "exec": rightsExec, "write": rightsWrite, "device": rightsDevice} {
		if rights&(ll.AccessFSMakeBlock|ll.AccessFSMakeChar) != 0 {
			t.Errorf("%s grants making devices", name)
		}
	}
	if rightsRead&^(ll.AccessFSReadFile|ll.AccessFSReadDir) != 0 || rightsWrite&ll.AccessFSExecute != 0 {
		t.Error("a group of rights grants more than its name")
	}
}
