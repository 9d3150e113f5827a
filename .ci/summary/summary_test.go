package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	tests := []struct {
		name, events string
		want         string // verdict and title of each result
	}{
		{"pass", `
{"Action":"run","Package":"a/p","Test":"TestA"}
{"Action":"pass","Package":"a/p","Test":"TestA"}
{"Action":"pass","Package":"a/p"}`,
			"pass r: p: TestA"},
		{"subtests stand for their test", `
{"Action":"run","Package":"a/p","Test":"TestA"}
{"Action":"run","Package":"a/p","Test":"TestA/x"}
{"Action":"skip","Package":"a/p","Test":"TestA/x"}
{"Action":"run","Package":"a/p","Test":"TestA/y"}
{"Action":"pass","Package":"a/p","Test":"TestA/y"}
{"Action":"pass","Package":"a/p","Test":"TestA"}
{"Action":"pass","Package":"a/p"}`,
			"skip r: p: TestA/x, pass r: p: TestA/y"},
		{"a failed subtest is one failure", `
{"Action":"run","Package":"a/p","Test":"TestA"}
{"Action":"run","Package":"a/p","Test":"TestA/x"}
{"Action":"fail","Package":"a/p","Test":"TestA/x"}
{"Action":"fail","Package":"a/p","Test":"TestA"}
{"Action":"fail","Package":"a/p"}`,
			"fail r: p: TestA/x"},
		{"a test that fails beside its subtests", `
{"Action":"run","Package":"a/p","Test":"TestA"}
{"Action":"run","Package":"a/p","Test":"TestA/x"}
{"Action":"pass","Package":"a/p","Test":"TestA/x"}
{"Action":"fail","Package":"a/p","Test":"TestA"}
{"Action":"fail","Package":"a/p"}`,
			"fail r: p: TestA, pass r: p: TestA/x"},
		{"cut off in the middle", `
{"Action":"run","Package":"a/p","Test":"TestA"}
{"Action":"output","Package":"a/p","Test":"TestA","Output":"half a li"}`,
			"fail r: p: TestA"},
		{"killed after its tests passed", `
{"Action":"run","Package":"a/p","Test":"TestA"}
{"Action":"pass","Package":"a/p","Test":"TestA"}
{"Action":"pass","Package":"a/p"}
{"Action":"fail","Package":"a/p"}`,
			"pass r: p: TestA, fail r: p"},
		{"does not build", `
{"ImportPath":"a/p","Action":"build-output","Output":"p.go:1: no\n"}
{"Action":"start","Package":"a/p"}
{"Action":"fail","Package":"a/p"}`,
			"fail r: p"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			results, err := read("r", strings.NewReader(strings.TrimPrefix(tt.events, "\n")))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range results {
				got = append(got, r.verdict+" "+r.title())
			}
			if strings.Join(got, ", ") != tt.want {
				t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), tt.want)
			}
		})
	}
}

func TestReadRefusesWhatIsNoEvent(t *testing.T) {
	if _, err := read("r", strings.NewReader("--- PASS: TestA\n")); err == nil {
		t.Error("plain test output was taken for events")
	}
}

func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "events.json")
	write := func(events string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(events), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"Action":"run","Package":"a/p","Test":"TestA"}
{"Action":"output","Package":"a/p","Test":"TestA","Output":"    a_test.go:7: needs a kernel with Landlock\n"}
{"Action":"output","Package":"a/p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
{"Action":"skip","Package":"a/p","Test":"TestA"}
{"Action":"pass","Package":"a/p"}
`)
	var out strings.Builder
	if err := run([]string{"root=" + file}, &out); err != nil {
		t.Fatal(err)
	}
	want := "skipped:\n  root: p: TestA: needs a kernel with Landlock\n0 passed, 0 failed, 1 skipped\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}

	write(`{"Action":"fail","Package":"a/p","Test":"TestA"}` + "\n")
	if err := run([]string{"root=" + file}, &out); err == nil {
		t.Error("a failure was not reported as one")
	}
	write("")
	if err := run([]string{"root=" + file}, &out); err == nil {
		t.Error("an empty file passed")
	}
}

func TestAgain(t *testing.T) {
	read := func(events string) []result {
		t.Helper()
		results, err := read("r", strings.NewReader(strings.TrimPrefix(events, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		return results
	}
	first := read(`
{"Action":"pass","Package":"a/p","Test":"TestA"}
{"Action":"fail","Package":"a/p","Test":"TestB/x"}
{"Action":"pass","Package":"a/p","Test":"TestB/y"}
{"Action":"fail","Package":"a/p","Test":"TestB"}
{"Action":"fail","Package":"a/p","Test":"TestC"}
{"Action":"fail","Package":"a/p"}`)
	if got := failedPattern(first); got != "^(TestB|TestC)$" {
		t.Errorf("the pattern is %s", got)
	}
	tests := []struct{ name, again, want string }{
		{"not run", ``, "pass TestA, fail TestB/x, pass TestB/y, fail TestC"},
		{"passes", `
{"Action":"pass","Package":"a/p","Test":"TestB/x"}
{"Action":"pass","Package":"a/p","Test":"TestB/y"}
{"Action":"pass","Package":"a/p","Test":"TestB"}
{"Action":"pass","Package":"a/p","Test":"TestC"}`,
			"pass TestA, unsteady TestB/x, pass TestB/y, unsteady TestC"},
		{"fails elsewhere", `
{"Action":"pass","Package":"a/p","Test":"TestB/x"}
{"Action":"fail","Package":"a/p","Test":"TestB/y"}
{"Action":"fail","Package":"a/p","Test":"TestB"}
{"Action":"skip","Package":"a/p","Test":"TestC"}`,
			"pass TestA, unsteady TestB/x, fail TestB/y, fail TestC"},
		{"fails before its subtests", `
{"Action":"fail","Package":"a/p","Test":"TestB"}
{"Action":"pass","Package":"a/p","Test":"TestC"}`,
			"pass TestA, fail TestB/x, pass TestB/y, unsteady TestC, fail TestB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, r := range merge(first, read(tt.again)) {
				got = append(got, r.verdict+" "+r.test)
			}
			if strings.Join(got, ", ") != tt.want {
				t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), tt.want)
			}
		})
	}

	died := read(`{"Action":"fail","Package":"a/p"}`)
	whole := read(`
{"Action":"pass","Package":"a/p","Test":"TestA"}
{"Action":"pass","Package":"a/p"}`)
	for name, tt := range map[string]struct {
		second []result
		want   string
	}{
		"died, then passed": {whole, "unsteady , pass TestA"},
		"died twice":        {died, "fail "},
		"died, not again":   {nil, "fail "},
	} {
		var got []string
		for _, r := range merge(died, tt.second) {
			got = append(got, r.verdict+" "+r.test)
		}
		if strings.Join(got, ", ") != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	if got := failedPattern(read(`{"Action":"fail","Package":"a/p"}`)); got != "" {
		t.Errorf("a package that failed by itself has the pattern %s", got)
	}
}
