package profiles

import "testing"

// TestApplyAllows: an allow is as narrow as it is written; what it names as a folder
// means what is in it.
func TestApplyAllows(t *testing.T) {
	s := spec(t, `apply {
  allow "Makefile" { reason = "ours" }
  allow "ci/**" { reason = "ours" }
  hold "secrets/**" {}
}`)
	for path, want := range map[string]bool{"Makefile": true, "sub/Makefile": false, "makefile": false, "ci/a/b": true, "ci": true, "cix": false, "secrets/a": false, "../Makefile": false, "": false} {
		if _, got := s.Apply.Allows(path); got != want {
			t.Errorf("%q: allowed %v, want %v", path, got, want)
		}
	}
	if len(s.Apply.Hold) != 1 || s.Apply.Hold[0].Origin.Line != 5 {
		t.Errorf("holds %+v", s.Apply.Hold)
	}
}

// TestCeilingHolds: what the machine's owner holds back is held with every profile.
func TestCeilingHolds(t *testing.T) {
	s := capped(t, "apply {\n  allow \"deploy/x\" { reason = \"x\" }\n}", "apply {\n  hold \"deploy/**\" { reason = \"production\" }\n}")
	if len(s.Apply.Hold) != 1 || s.Apply.Hold[0].Reason != "production" || s.Apply.Hold[0].Origin.File != ceilingPath {
		t.Errorf("holds %+v", s.Apply.Hold)
	}
}
