package main

import (
	"bufio"
	"encoding/json"
	"io"
	"regexp"
	"strings"
)

// The verdicts, as test2json calls them (go doc test2json).
const (
	passed  = "pass"
	failed  = "fail"
	skipped = "skip"
)

// event is the part of a test2json event that we read.
type event struct {
	Action  string
	Package string
	Test    string // empty: the package itself
	Output  string
}

// result is one test's end. A test with subtests is counted by them, unless it failed
// by itself; a package is a result only when it failed and none of its tests did.
type result struct {
	half, pkg, test string
	verdict         string
	output          string
}

func (r result) title() string {
	pkg := r.pkg[strings.LastIndexByte(r.pkg, '/')+1:]
	if r.test == "" {
		return r.half + ": " + pkg
	}
	return r.half + ": " + pkg + ": " + r.test
}

// logged matches a line of t.Log and t.Skip: "    file_test.go:12: text".
var logged = regexp.MustCompile(`^\s*\S+\.go:\d+: (.*)$`)

// reason is what the test said when it skipped: its last logged line.
func (r result) reason() string {
	reason := "no reason given"
	for line := range strings.Lines(r.output) {
		if m := logged.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil && m[1] != "" {
			reason = m[1]
		}
	}
	return reason
}

// read collects the results of one stream of events, in the order of their start.
func read(half string, in io.Reader) ([]result, error) {
	type key struct{ pkg, test string }
	var order []key
	output := map[key]*strings.Builder{}
	verdict := map[key]string{}

	lines := bufio.NewReader(in) // a test's output line has no limit, so no Scanner
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if jsonErr := json.Unmarshal(line, &e); jsonErr != nil {
				return nil, jsonErr
			}
			if e.Package != "" { // build output has none; the package's failure follows
				k := key{e.Package, e.Test}
				if output[k] == nil {
					output[k] = &strings.Builder{}
					order = append(order, k)
				}
				output[k].WriteString(e.Output)
				switch e.Action {
				case passed, failed, skipped:
					if verdict[k] != failed { // a later pass does not undo a failure
						verdict[k] = e.Action
					}
				}
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}

	// What has begun and never ended has failed.
	for _, k := range order {
		if verdict[k] == "" {
			verdict[k] = failed
			output[k].WriteString("it began and never ended\n")
		}
	}

	parent := map[key]bool{}      // has subtests
	failedBelow := map[key]bool{} // one of them failed
	for _, k := range order {
		for up := k; up.test != ""; {
			i := strings.LastIndexByte(up.test, '/')
			up.test = up.test[:max(i, 0)]
			if up.test != "" {
				parent[up] = true
			}
			if verdict[k] == failed {
				failedBelow[up] = true
			}
		}
	}
	var results []result
	for _, k := range order {
		counts := !parent[k] && k.test != ""
		if verdict[k] == failed && !failedBelow[k] {
			counts = true
		}
		if counts {
			results = append(results, result{half, k.pkg, k.test, verdict[k], output[k].String()})
		}
	}
	return results, nil
}
