package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/agentjail/agentjail/profiles"
)

// Account is what is spent of one budget by all of a user's runs.
//
// Days and weeks are those of UTC. Those of the caller's time zone would begin anew
// for whoever sets TZ, and have 23 or 25 hours twice a year. A clock that goes back
// refills nothing: time stands still here until it has come again to where it was.
type Account struct {
	Name  string          `json:"name"`
	Unit  string          `json:"unit,omitempty"`
	Since string          `json:"since"` // a random word, another one after each reset
	Seen  time.Time       `json:"seen"`  // the latest time at which it was used
	Day   Window          `json:"day"`
	Week  Window          `json:"week"`
	Total profiles.Amount `json:"total"`
}

// Window is a day or a week and what is spent in it.
type Window struct {
	From  time.Time       `json:"from"`
	Spent profiles.Amount `json:"spent"`
}

// dayOf is the beginning of a day.
func dayOf(t time.Time) time.Time {
	y, m, d := t.UTC().Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// weekOf is the beginning of a week: Monday, as ISO 8601 has it.
func weekOf(t time.Time) time.Time {
	d := dayOf(t)
	return d.AddDate(0, 0, -(int(d.Weekday())+6)%7)
}

// DayEnds and WeekEnds are when the account begins anew.
func (a *Account) DayEnds() time.Time  { return a.Day.From.AddDate(0, 0, 1) }
func (a *Account) WeekEnds() time.Time { return a.Week.From.AddDate(0, 0, 7) }

// newAccount is one of which nothing is spent.
func newAccount(name, unit, since string, now time.Time) *Account {
	a := &Account{Name: name, Unit: unit, Since: since}
	a.roll(now)
	return a
}

// roll moves the account on to a time, and never back.
func (a *Account) roll(now time.Time) {
	// No monotonic clock and no zone: what is written is what is compared.
	if now = now.UTC().Round(0); now.Before(a.Seen) {
		now = a.Seen
	}
	a.Seen = now
	if from := dayOf(now); !from.Equal(a.Day.From) {
		a.Day = Window{From: from}
	}
	if from := weekOf(now); !from.Equal(a.Week.From) {
		a.Week = Window{From: from}
	}
}

// hold is an amount that was taken, and where it was counted.
type hold struct {
	amount profiles.Amount
	since  string
	day    time.Time
	week   time.Time
}

// take spends an amount.
func (a *Account) take(amount profiles.Amount) hold {
	a.Day.Spent, a.Week.Spent, a.Total = a.Day.Spent.Add(amount), a.Week.Spent.Add(amount), a.Total.Add(amount)
	return hold{amount: amount, since: a.Since, day: a.Day.From, week: a.Week.From}
}

// correct puts what was really spent in the place of what was taken. More than that is
// counted where it happens, now. Less is given back where it was taken: a day that is
// over gives nothing to the next one.
func (a *Account) correct(h hold, actual profiles.Amount) {
	if actual >= h.amount {
		a.take(actual - h.amount)
		return
	}
	if a.Since != h.since {
		return // it was reset, and what was taken is not in it any more
	}
	back := h.amount - actual
	a.Total = a.Total.Sub(back)
	if a.Day.From.Equal(h.day) {
		a.Day.Spent = a.Day.Spent.Sub(back)
	}
	if a.Week.From.Equal(h.week) {
		a.Week.Spent = a.Week.Spent.Sub(back)
	}
}

// version is of the form of the file.
const version = 1

// maxFile is far more than an account needs.
const maxFile = 16 << 10

// file is an account as it is written. The sum finds a file that was cut, mixed up or
// edited by hand; it is no secret, and keeps nobody out who may write here.
type file struct {
	Version int             `json:"version"`
	Account json.RawMessage `json:"account"`
	SHA256  string          `json:"sha256"` // of the bytes of account
}

func encode(a *Account) ([]byte, error) {
	body, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	data, err := json.Marshal(file{Version: version, Account: body, SHA256: hex.EncodeToString(sum[:])})
	return append(data, '\n'), err
}

// decode reads what encode wrote, and nothing else.
func decode(name string, data []byte) (*Account, error) {
	var f file
	if err := strictly(data, &f); err != nil {
		return nil, err
	}
	if f.Version != version {
		return nil, fmt.Errorf("it is of version %d, and this agentjail reads version %d", f.Version, version)
	}
	if sum := sha256.Sum256(f.Account); f.SHA256 != hex.EncodeToString(sum[:]) {
		return nil, errors.New("its checksum is wrong: it was cut short or changed")
	}
	var a Account
	if err := strictly(f.Account, &a); err != nil {
		return nil, err
	}
	switch {
	case a.Name != name || !profiles.BudgetName(name):
		return nil, fmt.Errorf("it is about the budget %q", a.Name)
	case a.Since == "":
		return nil, errors.New("it does not say which count it is")
	case !a.Day.From.Equal(dayOf(a.Seen)) || !a.Week.From.Equal(weekOf(a.Seen)):
		return nil, errors.New("its day and its week are not those of its time")
	case a.Day.Spent > a.Week.Spent:
		// Monday begins the week, so each day is within one.
		return nil, errors.New("it has more for the day than for the week")
	}
	return &a, nil
}

// strictly reads one JSON value that has all that v has and nothing else.
func strictly(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("it is no account: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the account")
	}
	return nil
}
