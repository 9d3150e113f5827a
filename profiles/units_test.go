package profiles

import (
	"math"
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64
		ok   bool
	}{
		{"0", 0, true},
		{"0B", 0, true},
		{"100B", 100, true},
		{"1kB", 1000, true},
		{"1KB", 1000, true},
		{"1KiB", 1024, true},
		{"512MiB", 512 << 20, true},
		{"2GB", 2e9, true},
		{"2GiB", 2 << 30, true},
		{"8388607TiB", 8388607 << 40, true},
		{"8388608TiB", 0, false}, // 2^63
		{"9223372036854775808B", 0, false},
		{"", 0, false},
		{"512", 0, false},
		{"4 GB", 0, false},
		{"4GB ", 0, false},
		{"4G", 0, false},
		{"4gib", 0, false},
		{"12XB", 0, false},
		{"-1GB", 0, false},
		{"+1GB", 0, false},
		{"1.5GiB", 0, false},
		{"1e3B", 0, false},
		{"0x10B", 0, false},
		{"٣GB", 0, false}, // a digit, and not an ASCII one
	} {
		got, err := ParseSize(c.in)
		if (err == nil) != c.ok || got != c.want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d, ok %v", c.in, got, err, c.want, c.ok)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for _, c := range []struct {
		in   string
		want time.Duration
		ok   bool
	}{
		{"90s", 90 * time.Second, true},
		{"1h30m", 90 * time.Minute, true},
		{"1.5h", 90 * time.Minute, true},
		{"250ms", 250 * time.Millisecond, true},
		{"2d", 48 * time.Hour, true},
		{"1d12h", 36 * time.Hour, true},
		{"0d", 0, true},
		{"0", 0, true},
		{"106751d", 106751 * day, true},
		{"106752d", 0, false},
		{"106751d24h", 0, false},
		{"", 0, false},
		{"10", 0, false},
		{"1 hour", 0, false},
		{"1w", 0, false},
		{"d", 0, false},
		{"1.5d", 0, false},
		{"1d-2h", 0, false},
		{"1d+2h", 0, false},
		{"1d1d", 0, false},
		{"12h1d", 0, false},
		{"-5m", 0, false},
		{"-0s", 0, false},
	} {
		got, err := ParseDuration(c.in)
		if (err == nil) != c.ok || got != c.want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v, ok %v", c.in, got, err, c.want, c.ok)
		}
	}
}

func TestParseRate(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Rate
		ok   bool
	}{
		{"10/s", Rate{10, time.Second}, true},
		{"120/m", Rate{120, time.Minute}, true},
		{"10/h", Rate{10, time.Hour}, true},
		{"500/run", Rate{500, 0}, true},
		{"0/s", Rate{0, time.Second}, true},
		{"", Rate{}, false},
		{"10", Rate{}, false},
		{"/s", Rate{}, false},
		{"10/", Rate{}, false},
		{"10/d", Rate{}, false},
		{"-1/s", Rate{}, false},
		{"1.5/s", Rate{}, false},
		{"10 /s", Rate{}, false},
		{"10/s/s", Rate{}, false},
		{"9223372036854775808/s", Rate{}, false},
	} {
		got, err := ParseRate(c.in)
		if (err == nil) != c.ok || got != c.want {
			t.Errorf("ParseRate(%q) = %v, %v; want %v, ok %v", c.in, got, err, c.want, c.ok)
		}
		if err == nil && got.String() != c.in {
			t.Errorf("Rate %q is written %q", c.in, got)
		}
	}
}

func FuzzUnits(f *testing.F) {
	f.Add(int64(0))
	f.Add(int64(1536 << 20))
	f.Add(int64(36 * time.Hour))
	f.Add(int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, n int64) {
		if n < 0 {
			return
		}
		if got, err := ParseSize(FormatSize(n)); err != nil || got != n {
			t.Errorf("size %d is written %q and read as %d, %v", n, FormatSize(n), got, err)
		}
		if got, err := ParseDuration(FormatDuration(time.Duration(n))); err != nil || got != time.Duration(n) {
			t.Errorf("duration %d is written %q and read as %d, %v", n, FormatDuration(time.Duration(n)), got, err)
		}
	})
}
