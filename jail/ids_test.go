package jail

import (
	"os"
	"path/filepath"
	"testing"
	"testing/quick"

	"github.com/opencontainers/runc/libcontainer/configs"
)

// mapped is where a mapping sends an id; ok is false where it has no place.
func mapped(maps []configs.IDMap, id int64) (to int64, ok bool) {
	for _, m := range maps {
		if id >= m.ContainerID && id < m.ContainerID+m.Size {
			return m.HostID + id - m.ContainerID, true
		}
	}
	return 0, false
}

// TestSwapMap: the kernel takes a map only if no extent is empty and none overlap
// (user_namespaces(7)); and it must keep apart what is apart.
func TestSwapMap(t *testing.T) {
	const base = UIDFirst
	check := func(t *testing.T, owner, agent uint32) bool {
		t.Helper()
		maps := swapMap(owner, base, agent)
		inside, outside, size := map[int64]bool{}, map[int64]bool{}, int64(0)
		for _, m := range maps {
			if m.Size <= 0 {
				t.Errorf("owner %d, agent %d: an empty extent: %+v", owner, agent, maps)
				return false
			}
			size += m.Size
			for i := range m.Size {
				if inside[m.ContainerID+i] || outside[m.HostID+i] || m.HostID+i < base || m.HostID+i >= base+UIDRange {
					t.Errorf("owner %d, agent %d: id %d twice or outside of the range: %+v", owner, agent, m.ContainerID+i, maps)
					return false
				}
				inside[m.ContainerID+i], outside[m.HostID+i] = true, true
			}
		}
		if to, ok := mapped(maps, int64(owner)); !ok || to != base+int64(agent) {
			t.Errorf("the owner %d becomes %d, want the agent, %d", owner, to, base+int64(agent))
			return false
		}
		if size != UIDRange {
			t.Errorf("owner %d, agent %d: %d ids have a place, want %d", owner, agent, size, UIDRange)
			return false
		}
		return true
	}
	for _, owner := range []uint32{0, 1, 999, AgentID, 1001, 65533, 65534, 65535, 65536, 70000, 1<<32 - 2} {
		check(t, owner, AgentID)
	}
	if to, _ := mapped(swapMap(0, base, AgentID), AgentID); to != base {
		t.Errorf("with root's files the host's uid %d becomes %d, want %d", AgentID, to, base)
	}
	if err := quick.Check(func(owner uint32, agent uint16) bool { return check(t, owner%100_000, uint32(agent)) }, &quick.Config{MaxCount: 20}); err != nil {
		t.Error(err)
	}
}

func TestSubordinate(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	uids := write("subuid", "alice:100000:65536\nbob:589824:65536\n# a comment\nbroken:x:1\nshort\nnone:720896:0\nlate:851967:1\n")
	gids := write("subgid", "carol:983040:10\n")
	taken, err := subordinate(uids, gids, filepath.Join(dir, "missing"))
	if err != nil {
		t.Fatal(err)
	}
	for base, want := range map[uint32]bool{
		524288:  false, // the first
		589824:  true,  // bob's
		655360:  false, // right behind it
		720896:  false, // of size 0
		786432:  true,  // its last id is another's
		851968:  false,
		917504:  false,
		983040:  true, // as a group
		1048576: false,
	} {
		if got := taken(base); got != want {
			t.Errorf("taken(%d) = %v, want %v", base, got, want)
		}
	}
}

func TestClaimUIDs(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("claims are root's")
	}
	dir := filepath.Join(t.TempDir(), "uids")
	a, err := ClaimUIDs(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := ClaimUIDs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if a.Base == b.Base || a.Base < UIDFirst || (b.Base-UIDFirst)%UIDRange != 0 {
		t.Errorf("claims %d and %d", a.Base, b.Base)
	}
	first := a.Base
	if err := a.Release(); err != nil {
		t.Fatal(err)
	}
	if err := a.Release(); err != nil {
		t.Errorf("released twice: %v", err)
	}
	c, err := ClaimUIDs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if c.Base != first {
		t.Errorf("the free range %d was passed over for %d", first, c.Base)
	}
	for _, claim := range []*Claim{b, c} {
		if err := claim.Release(); err != nil {
			t.Fatal(err)
		}
	}
	// A folder that others can write is not believed.
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if claim, err := ClaimUIDs(dir); err == nil {
		t.Errorf("%d was claimed in a folder that everybody can write", claim.Base)
	}
}
