package run

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWriteDiagnosis(t *testing.T) {
	d := &diagnosis{Version: "1.2", Kernel: "6.1.0", Mode: "rootless", Refusal: "landlock: off", Layers: []layerReport{
		{"user namespace", stateWorks, "one id mapped", nil},
		{"landlock", stateMissing, "off", []string{"first", "second"}},
	}}
	const want = `agentjail 1.2 on Linux 6.1.0: an ordinary user's (rootless) jails

works    user namespace  one id mapped
missing  landlock        off
         mend:             first
                           second

a run with the default profile is refused here: landlock: off
`
	var b strings.Builder
	if err := writeDiagnosis(&b, d, false); err != nil {
		t.Fatal(err)
	}
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}

	b.Reset()
	if err := writeDiagnosis(&b, d, true); err != nil {
		t.Fatal(err)
	}
	plain := strings.NewReplacer("\x1b[32m", "", "\x1b[31m", "", "\x1b[39m", "", "\x1b[0m", "").Replace(b.String())
	if plain != want {
		t.Errorf("colour moves the columns:\n%s", plain)
	}
	if !strings.Contains(b.String(), "\x1b[31mmissing\x1b[0m") {
		t.Errorf("what is missing is not red: %q", b.String())
	}
}

// An error keeps its errno on the way from a probe's process to its parent.
func TestProbeResult(t *testing.T) {
	err := resultOf("", &probeError{"mount: operation not permitted", unix.EPERM}).err()
	if !errors.Is(err, unix.EPERM) || err.Error() != "mount: operation not permitted" {
		t.Errorf("got %v", err)
	}
	if err := resultOf("fine", nil).err(); err != nil {
		t.Errorf("got %v", err)
	}
	if err := resultOf("", errors.New("odd")).err(); err == nil || err.Error() != "odd" {
		t.Errorf("got %v", err)
	}
}

func TestInsideResult(t *testing.T) {
	got, err := insideResult([]byte("noise\r\n{\"detail\":\"dns,refused\"}\r\n" + endOfOutput))
	if got != "dns,refused" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := insideResult([]byte("{\"error\":\"a connection was made\"}\n")); err == nil || err.Error() != "a connection was made" {
		t.Errorf("what the probe says is lost: %v", err)
	}
	if _, err := insideResult([]byte("sh: ./probe: not found\n")); err == nil {
		t.Error("a probe that said nothing passes")
	}
}

func TestLandlockDetail(t *testing.T) {
	if got := landlockDetail(3, []string{"files"}, []string{"signals (Linux 6.12)"}); got != "ABI 3; refuses files; this kernel is too old for: signals (Linux 6.12)" {
		t.Errorf("got %q", got)
	}
	if got := landlockDetail(7, []string{"files"}, nil); strings.Contains(got, landlockLacks) {
		t.Errorf("got %q", got)
	}
}

// A probe that mounts must not run on the host, whoever calls it by hand.
func TestProbesThatMountAreMarked(t *testing.T) {
	for _, name := range []string{"hostname", "inner", "mount", "proc", "devpts", "overlay", "overlay-disk", "network", "redirect"} {
		p, ok := childProbes[name]
		if !ok || !p.namespaced {
			t.Errorf("probe %s is not marked as one for a namespace of its own", name)
		}
	}
}

func TestMapsOneID(t *testing.T) {
	for uidMap, want := range map[string]bool{
		"         0       1000          1\n": true,
		"         0          0 4294967295\n": false, // the host
		"         0     100000      65536\n": false, // a container
		"  0 1000 1\n  1 100000 1\n":         false,
		"":                                   false,
	} {
		if got := mapsOneID(uidMap); got != want {
			t.Errorf("%q: got %v", uidMap, got)
		}
	}
}

func TestWithout(t *testing.T) {
	got := without([]string{"A=1", "XDG_STATE_HOME=/x", "XDG_STATE_HOME2=/y"}, "XDG_STATE_HOME")
	if !slices.Equal(got, []string{"A=1", "XDG_STATE_HOME2=/y"}) {
		t.Errorf("got %q", got)
	}
}
