package run_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// trafficMain asks a host for something again and again, by a new connection every
// tenth time, and starts a program each time: its arguments are a URL and for how long.
func trafficMain(args []string) int {
	d, err := time.ParseDuration(args[1])
	if err != nil {
		return 97
	}
	fmt.Println("begun")
	end := time.Now().Add(d)
	for n := 0; time.Now().Before(end); n++ {
		res, err := http.Get(args[0])
		if err != nil {
			fmt.Println(err)
			return 1
		}
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if err != nil {
			fmt.Println(err)
			return 1
		}
		if n%10 == 9 {
			http.DefaultClient.CloseIdleConnections()
		}
		if err := exec.Command("/bin/true").Run(); err != nil {
			fmt.Println(err)
			return 1
		}
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Println("ended")
	return 0
}

// TestSoakTraffic: the memory of a jail's processes does not grow with what goes through
// them.
func TestSoakTraffic(t *testing.T) {
	d := soakFor(t)
	if d == 0 {
		d = 4 * time.Second
	}
	ca := newAuthority(t)
	served := &requests{}
	upstream := ca.serve(t, "allowed.example", "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(make([]byte, 16<<10))
		served.mu.Lock()
		served.seen = append(served.seen[:0], "") // only that there was one: an hour's would be this test's own growth
		served.mu.Unlock()
	}))
	c := newCaller(t, allowHost("allowed.example", upstream, ca)+execSelf(t)+"audit {\n size = \"8GiB\"\n}\n")
	c.ownTemp()
	ctx, cancel := context.WithTimeout(t.Context(), d+hangGuard)
	defer cancel()
	cmd := c.command(ctx, []string{"--quiet"}, self(t), helperArg, "traffic", "https://allowed.example/", d.String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("begun\n"))); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	// The most in the second quarter of the time, when all is warm, and in the last.
	var early, late map[string]usage
	samples := 0
	for time.Since(begun) < d-d/20 { // before its processes end
		now := sampleRun(t, cmd.Process.Pid)
		switch part := time.Since(begun) * 4 / d; part {
		case 1:
			early = most(early, now)
		case 3:
			late = most(late, now)
		}
		samples++
		time.Sleep(d / 200)
	}
	said, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	if code := exitOf(t, cmd.Wait()); code != 0 || string(said) != "ended\n" {
		t.Fatalf("exit code %d, the agent said %q", code, said)
	}
	if len(served.all()) == 0 || len(early) < 3 || len(late) < 3 {
		t.Fatalf("%d samples show nothing: %v, then %v", samples, early, late)
	}
	t.Logf("%v: %+v, then %+v", d, early, late)
	for name, e := range early {
		// A garbage collector's heap breathes.
		if l := late[name]; l.rss > e.rss+e.rss/4+4<<10 || l.threads > e.threads+4 || l.files > e.files+16 {
			t.Errorf("the %s grew from %+v to %+v", name, e, l)
		}
	}
	c.wantNothingLeft()
}

// sampleRun is what the supervisor, PID 1 and the gateway of a run use.
func sampleRun(t *testing.T, supervisor int) map[string]usage {
	t.Helper()
	list := below(t, supervisor)
	pids := map[string]int{"supervisor": supervisor, "PID 1": victims["PID 1"](list), "gateway": victims["gateway"](list)}
	found := map[string]usage{}
	for name, pid := range pids {
		// At the end they go while they are looked at.
		if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); pid != 0 && err == nil {
			found[name] = usageOf(t, pid)
		}
	}
	return found
}

func most(a, b map[string]usage) map[string]usage {
	if a == nil {
		return b
	}
	for name, u := range b {
		m := a[name]
		a[name] = usage{files: max(m.files, u.files), threads: max(m.threads, u.threads), rss: max(m.rss, u.rss)}
	}
	return a
}
