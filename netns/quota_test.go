package netns

import (
	"sync"
	"testing"
	"time"

	"github.com/agentjail/agentjail/profiles"
)

func TestQuotaTake(t *testing.T) {
	q := newQuotas()
	clock := time.Unix(1e9, 0)
	q.now = func() time.Time { return clock }
	quota := func(s string) *profiles.Quota {
		r, err := profiles.ParseRate(s)
		if err != nil {
			t.Fatal(err)
		}
		return &profiles.Quota{Rate: r}
	}
	perMinute, perRun := claim{quota("6/m"), "m"}, claim{quota("8/run"), "run"}
	ok := func(want bool, claims ...claim) verdictQuota {
		t.Helper()
		v := q.take(claims)
		if (v.quota == nil) != want {
			t.Fatalf("take: %+v, want %v", v, want)
		}
		return v
	}
	for range 6 {
		ok(true, perMinute, perRun)
	}
	if v := ok(false, perMinute, perRun); v.wait != 10*time.Second || !v.first || v.quota != perMinute.quota {
		t.Errorf("%+v", v)
	}
	if v := ok(false, perMinute, perRun); v.first {
		t.Error("the limit is reported anew for each request")
	}
	clock = clock.Add(9 * time.Second)
	if v := ok(false, perMinute); v.wait <= 0 || v.wait > time.Second+time.Millisecond {
		t.Errorf("%+v", v)
	}
	clock = clock.Add(time.Second)
	ok(true, perMinute, perRun)
	if v := ok(false, perMinute); !v.first {
		t.Error("a limit that is reached again is not reported")
	}
	clock = clock.Add(time.Hour) // full again, and no fuller
	ok(true, perMinute, perRun)
	if v := ok(false, perRun, perMinute); v.wait != 0 || v.quota != perRun.quota {
		t.Errorf("%+v", v)
	}
	for range 5 { // nothing was taken of the other one
		ok(true, perMinute)
	}
	ok(false, perMinute)
	ok(true)
}

func TestQuotaConnections(t *testing.T) {
	q := newQuotas()
	if !q.enter("a", 2) || !q.enter("a", 2) || q.enter("a", 2) || !q.enter("b", 1) {
		t.Error("not two of a and one of b")
	}
	q.leave("a")
	if !q.enter("a", 2) || q.enter("a", 2) {
		t.Error("a place is not given back once")
	}
}

func TestByteCap(t *testing.T) {
	q := newQuotas()
	r := &profiles.NetRule{Upload: 1000, Label: "x"}
	c := q.cap("upload", r, "a.example")
	if q.cap("download", r, "a.example") != nil || q.cap("upload", r, "a.example") != c || q.cap("upload", r, "b.example") == c {
		t.Error("caps are not by rule, host and direction")
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	total := int64(0)
	for range 50 {
		wg.Go(func() {
			n := c.reserve(30)
			mu.Lock()
			total += n
			mu.Unlock()
		})
	}
	wg.Wait()
	if total != 1000 || !c.empty() || c.reserve(1) != 0 {
		t.Errorf("%d bytes were given out of 1000", total)
	}
	if (*byteCap)(nil).reserve(5) != 5 || (*byteCap)(nil).empty() {
		t.Error("no cap is a cap")
	}
}
