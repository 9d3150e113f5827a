package audit

import (
	"reflect"
	"strings"
	"testing"
)

func TestRecordRoundTrip(t *testing.T) {
	kinds := map[string]bool{}
	for name, r := range samples() {
		b, err := EncodeRecord(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := DecodeRecord(b)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%s: %s became %+v (%v)", name, b, got, err)
		}
		kind, _, _ := strings.Cut(strings.TrimPrefix(string(b), `{"kind":"`), `"`)
		kinds[kind] = true
	}
	if len(kinds) != 20 {
		t.Errorf("kinds %v", kinds)
	}
}

func TestDecodeRecordRefuses(t *testing.T) {
	good := `{"kind":"dns","name":"a","type":"A","rcode":"REFUSED","outcome":"blocked","process":{}}`
	if _, err := DecodeRecord([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]string{
		"empty":           "",
		"null":            "null",
		"list":            "[]",
		"no kind":         `{"name":"a"}`,
		"unknown kind":    strings.Replace(good, `"dns"`, `"reboot"`, 1),
		"kind not first":  `{"name":"a","kind":"dns"}`,
		"kind twice":      strings.Replace(good, `"name"`, `"kind":"dns","name"`, 1),
		"two kinds":       strings.Replace(good, `"name"`, `"kind":"exec","name"`, 1),
		"kind in capital": strings.Replace(good, `"kind"`, `"KIND"`, 1),
		"unknown member":  strings.Replace(good, `"name"`, `"colour":"red","name"`, 1),
		"wrong type":      strings.Replace(good, `"a"`, `1`, 1),
		"something after": good + "x",
		"two":             good + good,
		"torn":            good[:len(good)-2],
		"too large":       strings.Replace(good, `"a"`, `"`+strings.Repeat("a", MaxRecord)+`"`, 1),
	} {
		if r, err := DecodeRecord([]byte(in)); err == nil || r != nil {
			t.Errorf("%s: taken as %+v", name, r)
		}
	}
}

func TestEncodeRecordRefuses(t *testing.T) {
	if _, err := EncodeRecord(DNS{Name: strings.Repeat("a", MaxRecord)}); err == nil {
		t.Error("a record that is too large was taken")
	}
	if _, err := EncodeRecord(&DNS{}); err == nil {
		t.Error("a pointer was taken")
	}
	if _, err := EncodeRecord(nil); err == nil {
		t.Error("nil was taken")
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for _, r := range samples() {
		if b, err := EncodeRecord(r); err == nil {
			f.Add(b)
		}
	}
	f.Add([]byte(`{"kind":"dns",}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRecord(b)
		if err != nil {
			return
		}
		again, err := EncodeRecord(r)
		if err != nil {
			if len(b) < MaxRecord/8 { // JSON may grow by escapes only
				t.Fatalf("%s: %v", b, err)
			}
			return
		}
		got, err := DecodeRecord(again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if third, err := EncodeRecord(got); err != nil || string(third) != string(again) {
			t.Fatalf("%s became %s (%v)", again, third, err)
		}
	})
}
