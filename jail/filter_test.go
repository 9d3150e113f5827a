package jail

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFilterBuilds(t *testing.T) {
	prog, err := buildFilter(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(len(prog), "instructions")
	if len(prog) > 4096 { // BPF_MAXINSNS
		t.Fatalf("%d instructions", len(prog))
	}
}
func BenchmarkFilter(b *testing.B) {
	for b.Loop() {
		if _, err := buildFilter(nil); err != nil {
			b.Fatal(err)
		}
	}
}

// What PID 1 gets is what was compiled.
func TestEncodeFilter(t *testing.T) {
	want := []unix.SockFilter{{Code: 0x20, Jt: 1, Jf: 255, K: 0xdeadbeef}, {Code: 6, K: unix.SECCOMP_RET_KILL_PROCESS}}
	if got := decodeFilter(encodeFilter(want)); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
