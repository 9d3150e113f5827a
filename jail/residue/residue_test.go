package residue

import (
	"regexp"
	"testing"
)

// The program goes on, and its constants are what they were. That there is less of it in
// memory is seen in a process that has done more than this one (run, TestJailSettles).
func TestRelease(t *testing.T) {
	for range 3 {
		Release()
		if got := regexp.MustCompile(`^(a+)b$`).ReplaceAllString("aaab", "<$1>"); got != "<aaa>" {
			t.Fatal(got)
		}
	}
}
