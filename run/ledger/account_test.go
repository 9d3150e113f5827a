package ledger

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/agentjail/agentjail/profiles"
)

func at(t testing.TB, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWindows(t *testing.T) {
	for _, c := range []struct{ now, day, week string }{
		{"2026-03-09T00:00:00Z", "2026-03-09T00:00:00Z", "2026-03-09T00:00:00Z"}, // a Monday
		{"2026-03-08T23:59:59Z", "2026-03-08T00:00:00Z", "2026-03-02T00:00:00Z"}, // the Sunday before
		{"2026-03-09T00:30:00+01:00", "2026-03-08T00:00:00Z", "2026-03-02T00:00:00Z"},
		{"2026-03-08T20:00:00-08:00", "2026-03-09T00:00:00Z", "2026-03-09T00:00:00Z"},
		{"2027-01-01T12:00:00Z", "2027-01-01T00:00:00Z", "2026-12-28T00:00:00Z"}, // a week of two years
		{"2028-02-29T12:00:00Z", "2028-02-29T00:00:00Z", "2028-02-28T00:00:00Z"},
	} {
		now := at(t, c.now)
		if got := dayOf(now); !got.Equal(at(t, c.day)) {
			t.Errorf("the day of %s begins %s", c.now, got)
		}
		if got := weekOf(now); !got.Equal(at(t, c.week)) {
			t.Errorf("the week of %s begins %s", c.now, got)
		}
	}
}

func TestRoll(t *testing.T) {
	a := newAccount("b", "usd", "x", at(t, "2026-03-10T12:00:00Z"))
	a.take(5 * profiles.One)
	want := func(when string, day, week, total profiles.Amount) {
		t.Helper()
		if a.Day.Spent != day*profiles.One || a.Week.Spent != week*profiles.One || a.Total != total*profiles.One {
			t.Errorf("%s: day %s, week %s, in all %s", when, a.Day.Spent, a.Week.Spent, a.Total)
		}
	}
	a.roll(at(t, "2026-03-10T23:59:59Z"))
	want("the same day", 5, 5, 5)
	a.roll(at(t, "2026-03-11T00:00:00Z"))
	want("the next day", 0, 5, 5)
	a.take(2 * profiles.One)
	// The clock goes back, by a moment, a day and a year: nothing is refilled.
	for _, back := range []string{"2026-03-10T23:59:59Z", "2026-03-10T00:00:00Z", "2025-03-11T00:00:00Z", "1970-01-01T00:00:00Z"} {
		a.roll(at(t, back))
		want("back to "+back, 2, 7, 7)
	}
	if !a.DayEnds().Equal(at(t, "2026-03-12T00:00:00Z")) || !a.WeekEnds().Equal(at(t, "2026-03-16T00:00:00Z")) {
		t.Errorf("it ends %s and %s", a.DayEnds(), a.WeekEnds())
	}
	a.roll(at(t, "2026-03-16T00:00:00Z"))
	want("the next week", 0, 0, 7)
}

func TestCorrect(t *testing.T) {
	const one = profiles.One
	fresh := func() *Account { return newAccount("b", "", "x", at(t, "2026-03-10T12:00:00Z")) }
	for _, c := range []struct {
		name             string
		later            string
		reset            bool
		actual           profiles.Amount
		day, week, total profiles.Amount
	}{
		{"less", "2026-03-10T12:00:01Z", false, 2 * one, 5, 5, 5},
		{"nothing", "2026-03-10T12:00:01Z", false, 0, 3, 3, 3},
		{"the same", "2026-03-10T12:00:01Z", false, 10 * one, 13, 13, 13},
		{"more", "2026-03-10T12:00:01Z", false, 11 * one, 14, 14, 14},
		{"less, on the next day", "2026-03-11T12:00:00Z", false, 2 * one, 0, 5, 5},
		{"more, on the next day", "2026-03-11T12:00:00Z", false, 11 * one, 1, 14, 14},
		{"less, in the next week", "2026-03-17T12:00:00Z", false, 2 * one, 0, 0, 5},
		{"less, after a reset", "2026-03-10T12:00:01Z", true, 2 * one, 3, 3, 3},
		{"more, after a reset", "2026-03-10T12:00:01Z", true, 11 * one, 4, 4, 4},
	} {
		a := fresh()
		h := a.take(10 * one)
		if c.reset {
			a = fresh()
			a.Since = "y"
		}
		a.take(3 * one) // another run's
		a.roll(at(t, c.later))
		a.correct(h, c.actual)
		if a.Day.Spent != c.day*one || a.Week.Spent != c.week*one || a.Total != c.total*one {
			t.Errorf("%s: day %s, week %s, in all %s", c.name, a.Day.Spent, a.Week.Spent, a.Total)
		}
	}
}

func TestDecode(t *testing.T) {
	a := newAccount("b", "usd", "x", at(t, "2026-03-10T12:00:00Z"))
	a.take(1_500_000)
	good, err := encode(a)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode("b", good)
	if err != nil || *got != *a {
		t.Fatalf("%+v, %v, want %+v", got, err, a)
	}
	for n := range len(good) - 1 { // the last byte is the end of the line
		if _, err := decode("b", good[:n]); err == nil {
			t.Fatalf("cut after %d bytes it is read", n)
		}
	}
	for i := range len(good) - 1 {
		if good[i] == ' ' {
			continue
		}
		bad := append([]byte{}, good...)
		bad[i] ^= 1
		if got, err := decode("b", bad); err == nil && *got != *a {
			t.Fatalf("with byte %d changed it is read as %+v", i, got)
		}
	}
	forge := func(change func(*Account)) []byte {
		b := *a
		change(&b)
		data, err := encode(&b)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for name, data := range map[string][]byte{
		"empty":                   {},
		"null":                    []byte("null"),
		"no account":              []byte(`{"version":1}`),
		"another version":         []byte(strings.Replace(string(good), `"version":1`, `"version":2`, 1)),
		"another word":            []byte(strings.Replace(string(good), `"version":1`, `"version":1,"x":1`, 1)),
		"twice":                   append(append([]byte{}, good...), good...),
		"another budget":          forge(func(a *Account) { a.Name = "c" }),
		"no count":                forge(func(a *Account) { a.Since = "" }),
		"another day":             forge(func(a *Account) { a.Day.From = a.Day.From.AddDate(0, 0, 1) }),
		"another week":            forge(func(a *Account) { a.Week.From = a.Week.From.AddDate(0, 0, 7) }),
		"no time":                 forge(func(a *Account) { a.Seen = time.Time{} }),
		"more a day than a week":  forge(func(a *Account) { a.Week.Spent = 0 }),
		"less than nothing spent": forge(func(a *Account) { a.Day.Spent = -1 }),
		"more than there is":      forge(func(a *Account) { a.Total = profiles.MaxAmount + 1 }),
	} {
		if got, err := decode("b", data); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
}

// Whatever lies in the file, it is an account that can be gone on with or an error.
func FuzzDecode(f *testing.F) {
	good, err := encode(newAccount("b", "usd", "x", time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(`{"version":1,"account":{},"sha256":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		// With its sum put right, so that what is behind it is reached.
		var outer file
		if json.Unmarshal(data, &outer) == nil && len(outer.Account) > 0 {
			data = resummed(t, outer.Account)
		}
		a, err := decode("b", data)
		if err != nil {
			return
		}
		before := a.Day.Spent
		if before < 0 || before > a.Week.Spent || a.Total < 0 || a.Total > profiles.MaxAmount {
			t.Fatalf("%+v", a)
		}
		a.roll(a.Seen)
		if a.Day.Spent != before {
			t.Fatal("rolling on to where it is refills it")
		}
		a.roll(time.Time{})
		if a.Day.Spent != before {
			t.Fatal("a clock that goes back refills it")
		}
	})
}
