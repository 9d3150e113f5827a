package jail

import (
	"testing"
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
