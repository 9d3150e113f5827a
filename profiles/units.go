package profiles

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// sizeUnits are the SI and IEC 80000-13 multiples of a byte. A bare "K", "M" or
// "G" means 1000 to some programs and 1024 to others, so it is not among them.
var sizeUnits = map[string]int64{
	"B":  1,
	"kB": 1e3, "KB": 1e3, "KiB": 1 << 10,
	"MB": 1e6, "MiB": 1 << 20,
	"GB": 1e9, "GiB": 1 << 30,
	"TB": 1e12, "TiB": 1 << 40,
}

// ParseSize reads a size: "512MiB", "2GB", "100B" or "0".
func ParseSize(s string) (int64, error) {
	digits := leadingDigits(s)
	if digits == "" {
		return 0, fmt.Errorf("size %q does not begin with a digit: write for example \"512MiB\" or \"2GB\"", s)
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("size %q is too large", s)
	}
	word := s[len(digits):]
	unit, known := sizeUnits[word]
	switch {
	case word == "" && n == 0:
		return 0, nil
	case word == "":
		return 0, fmt.Errorf("size %q has no unit: write for example \"%dMiB\"", s, n)
	case known && n > math.MaxInt64/unit:
		return 0, fmt.Errorf("size %q is too large", s)
	case known:
		return n * unit, nil
	case strings.HasPrefix(word, "."):
		return 0, fmt.Errorf("size %q is not a whole number: use the next smaller unit, for example \"1536MiB\" for one and a half GiB", s)
	}
	if near := nearestSize(strings.TrimSpace(word)); near != "" {
		return 0, fmt.Errorf("size %q has no unit that is known: write \"%d%s\"", s, n, near)
	}
	return 0, fmt.Errorf("size %q has no unit that is known: the units are B, kB, MB, GB, TB and KiB, MiB, GiB, TiB", s)
}

// nearestSize finds the unit that was meant where only the case, a space or a
// missing final letter is wrong.
func nearestSize(word string) string {
	for _, u := range []string{"B", "kB", "KiB", "MB", "MiB", "GB", "GiB", "TB", "TiB"} {
		if strings.EqualFold(word, u) {
			return u
		}
	}
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if strings.EqualFold(word, u[:1]) || strings.EqualFold(word, u[:2]) {
			return u
		}
	}
	return ""
}

// FormatSize writes a size so that ParseSize reads it back, in the largest binary
// unit, else decimal unit, that loses nothing.
func FormatSize(n int64) string {
	if n == 0 {
		return "0"
	}
	for _, u := range []string{"TiB", "GiB", "MiB", "KiB", "TB", "GB", "MB", "kB"} {
		if n%sizeUnits[u] == 0 {
			return strconv.FormatInt(n/sizeUnits[u], 10) + u
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

const day = 24 * time.Hour

// ParseDuration reads a duration as Go's time.ParseDuration does, with days before
// it: "10m", "1h30m", "2d", "1d12h". It is never negative.
func ParseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("duration %q is not known: write for example \"90s\", \"10m\", \"1h30m\" or \"2d\"", s)
	rest, days := s, int64(0)
	if digits := leadingDigits(s); strings.HasPrefix(s[len(digits):], "d") && digits != "" {
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n > int64(math.MaxInt64/day) {
			return 0, fmt.Errorf("duration %q is too long", s)
		}
		days, rest = n, s[len(digits)+1:]
		if rest == "" {
			return time.Duration(days) * day, nil
		}
		// Days come once and before the rest: "1d+2h" and "1d-2h" are no durations.
		if leadingDigits(rest) == "" {
			return 0, bad
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		return 0, bad
	}
	if d < 0 || strings.HasPrefix(rest, "-") {
		return 0, fmt.Errorf("duration %q is negative", s)
	}
	if d > math.MaxInt64-time.Duration(days)*day {
		return 0, fmt.Errorf("duration %q is too long", s)
	}
	return time.Duration(days)*day + d, nil
}

// FormatDuration writes a duration so that ParseDuration reads it back, without
// the zero parts that time.Duration's String writes ("12h", not "12h0m0s").
func FormatDuration(d time.Duration) string {
	var b strings.Builder
	if d >= day {
		fmt.Fprintf(&b, "%dd", d/day)
		if d %= day; d == 0 {
			return b.String()
		}
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	b.WriteString(s)
	return b.String()
}

// Rate is how often something may happen.
type Rate struct {
	Count int64
	Per   time.Duration // 0: in the whole run
}

// ParseRate reads a rate: "10/s", "120/m", "10/h", "500/run".
func ParseRate(s string) (Rate, error) {
	count, unit, ok := strings.Cut(s, "/")
	if !ok || count == "" || leadingDigits(count) != count {
		return Rate{}, fmt.Errorf("rate %q is not known: write for example \"10/s\", \"120/m\", \"10/h\" or \"500/run\"", s)
	}
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil {
		return Rate{}, fmt.Errorf("rate %q is too large", s)
	}
	switch unit {
	case "s":
		return Rate{n, time.Second}, nil
	case "m":
		return Rate{n, time.Minute}, nil
	case "h":
		return Rate{n, time.Hour}, nil
	case "run":
		return Rate{n, 0}, nil
	}
	return Rate{}, fmt.Errorf("rate %q has no unit that is known: the units are s, m, h and run", s)
}

func (r Rate) String() string {
	switch r.Per {
	case time.Second:
		return strconv.FormatInt(r.Count, 10) + "/s"
	case time.Minute:
		return strconv.FormatInt(r.Count, 10) + "/m"
	case time.Hour:
		return strconv.FormatInt(r.Count, 10) + "/h"
	}
	return strconv.FormatInt(r.Count, 10) + "/run"
}

// MarshalText implements encoding.TextMarshaler.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Rate) UnmarshalText(b []byte) (err error) {
	*r, err = ParseRate(string(b))
	return err
}

func leadingDigits(s string) string {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return s[:i]
}
