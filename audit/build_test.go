package audit

import "testing"

// What an arena gives back holds on to no string.
func TestArenaReset(t *testing.T) {
	var a arena
	o := a.object(3)
	o.own("key", "value")
	a.reset()
	if a.fields[0].key != "" || a.fields[0].str != "" || a.used != 0 {
		t.Errorf("%+v", a.fields[0])
	}
	if one, two := a.object(1), a.object(1); cap(one) != 1 || cap(two) != 1 {
		t.Error("what is added to one object could come into another")
	}
}
