package sshagent

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
)

func str(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(p))), p...)
	}
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []byte
		want Kind
		bad  bool
	}{
		{"list", []byte{11}, List, false},
		{"list with more", []byte{11, 0}, Other, true},
		{"sign", join([]byte{13}, str("key", "data"), make([]byte, 4)), Sign, false},
		{"sign without flags", join([]byte{13}, str("key", "data")), Other, true},
		{"sign with more", join([]byte{13}, str("key", "data"), make([]byte, 5)), Other, true},
		{"sign, a length beyond the end", join([]byte{13, 0, 0, 1, 0}, []byte("key")), Other, true},
		{"sign, a huge length", []byte{13, 255, 255, 255, 255, 1}, Other, true},
		{"bind", join([]byte{27}, str("session-bind@openssh.com", "hostkey", "session", "sig"), []byte{0}), Bind, false},
		{"bind without a host key", join([]byte{27}, str("session-bind@openssh.com")), Other, true},
		{"another extension", join([]byte{27}, str("query")), Other, false},
		{"add a key", join([]byte{17}, str("ssh-ed25519")), Other, false},
		{"remove all keys", []byte{19}, Other, false},
		{"lock", join([]byte{22}, str("password")), Other, false},
		{"add a smartcard", join([]byte{20}, str("/evil.so", "")), Other, false}, // CVE-2023-38408
		{"SSH 1", []byte{1}, Other, false},
		{"nothing", nil, Other, true},
	} {
		r, err := Parse(tt.in)
		if r.Kind != tt.want || (err != nil) != tt.bad {
			t.Errorf("%s: %+v %v", tt.name, r, err)
		}
	}
	r, _ := Parse(join([]byte{13}, str("key", "data"), make([]byte, 4)))
	if string(r.Key) != "key" || string(r.Data) != "data" {
		t.Errorf("%+v", r)
	}
}

func TestRead(t *testing.T) {
	for name, in := range map[string]string{"empty": "\x00\x00\x00\x00", "too long": "\x00\x04\x00\x01", "cut short": "\x00\x00\x00\x05abc"} {
		if b, err := Read(strings.NewReader(in)); err == nil || err == io.EOF {
			t.Errorf("%s: %q %v", name, b, err)
		}
	}
	var w bytes.Buffer
	if err := Write(&w, []byte("abc")); err != nil {
		t.Fatal(err)
	}
	if b, err := Read(&w); string(b) != "abc" || err != nil {
		t.Errorf("%q %v", b, err)
	}
	if _, err := Read(&w); err != io.EOF {
		t.Errorf("the end is %v", err)
	}
}

func TestKeys(t *testing.T) {
	keys := []Key{{[]byte("one"), "me@laptop"}, {[]byte("two"), ""}}
	got, err := Keys(ListOf(keys))
	if err != nil || len(got) != 2 || string(got[0].Blob) != "one" || got[0].Comment != "me@laptop" || string(got[1].Blob) != "two" {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := Keys(ListOf(nil)); err != nil || len(got) != 0 {
		t.Errorf("%+v %v", got, err)
	}
	whole := ListOf(keys)
	for n := range whole {
		if _, err := Keys(whole[:n]); err == nil {
			t.Errorf("%d bytes of a list are one", n)
		}
	}
	for name, in := range map[string][]byte{"a refusal": Failure(), "more behind": append(ListOf(keys), 0), "too many": {12, 255, 255, 255, 255}} {
		if _, err := Keys(in); err == nil {
			t.Errorf("%s is a list of keys", name)
		}
	}
}

func TestPurpose(t *testing.T) {
	login := func(method string, more ...string) []byte {
		return join(str("session"), []byte{50}, str("git", "ssh-connection", method), []byte{1}, str(append([]string{"ssh-ed25519", "key"}, more...)...))
	}
	host := Fingerprint([]byte("hostkey"))
	for _, tt := range []struct {
		data  []byte
		bound []byte
		want  string
	}{
		{login("publickey"), nil, `a login as "git"`},
		{login("publickey"), []byte("hostkey"), `a login as "git" on the host with the key ` + host},
		{login("publickey-hostbound-v00@openssh.com", "hostkey"), nil, `a login as "git" on the host with the key ` + host},
		{login("publickey-hostbound-v00@openssh.com"), nil, ""},
		{login("password"), nil, ""},
		{join([]byte("SSHSIG"), str("git", "", "sha512", "hash")), nil, `a signature in the namespace "git"`},
		{[]byte("SSHSIG\x00\x00"), nil, ""},
		{[]byte("anything"), nil, ""},
		{nil, nil, ""},
	} {
		if got := Purpose(tt.data, tt.bound); got != tt.want {
			t.Errorf("%q is %q, want %q", tt.data, got, tt.want)
		}
	}
}

// TestFingerprint: as ssh-keygen -l has it for this key.
func TestFingerprint(t *testing.T) {
	// The SHA-256 of nothing, FIPS 180-4.
	if got := Fingerprint(nil); got != "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU" {
		t.Error(got)
	}
}

// FuzzParse: what the jail sends never panics, and what is taken as a signature's
// request says again what it is.
func FuzzParse(f *testing.F) {
	f.Add(join([]byte{13}, str("key", "SSHSIG"), make([]byte, 4)))
	f.Add(join([]byte{27}, str("session-bind@openssh.com", "hostkey")))
	f.Add([]byte{11})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
		if err != nil {
			return
		}
		Purpose(r.Data, r.HostKey)
		if again := join([]byte{13}, str(string(r.Key), string(r.Data)), b[max(0, len(b)-4):]); r.Kind == Sign && !bytes.Equal(again, b) {
			t.Errorf("%x is %+v", b, r)
		}
	})
}

// FuzzKeys: a list is written again as it was read.
func FuzzKeys(f *testing.F) {
	f.Add(ListOf([]Key{{[]byte("one"), "a"}, {nil, ""}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if keys, err := Keys(b); err == nil && !bytes.Equal(ListOf(keys), b) {
			t.Errorf("%x is %+v", b, keys)
		}
	})
}
