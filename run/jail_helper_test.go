package run_test

import (
	"fmt"
	"os"
)

// helperArg is the first argument with which the test binary is one of helpers
// instead of a test run. It is looked at in init, before the testing package: a
// helper never reaches a test, and a helper of an unknown name ends at once, so
// that nothing can start itself over and over.
const helperArg = "agentjail-test-helper"

// helpers are the programs that tests run inside a jail, or as a peer beside one.
// Each returns its exit code.
var helpers map[string]func(args []string) int

func init() {
	if len(os.Args) < 2 || os.Args[1] != helperArg {
		return
	}
	helpers = map[string]func([]string) int{
		"sockets":     socketsMain,
		"without":     withoutMain,
		"flood":       floodMain,
		"files":       filesMain,
		"state":       stateMain,
		"digest":      digestMain,
		"descriptors": descriptorsMain,
		"traffic":     trafficMain,
		"execs":       execsMain,
		"execflood":   execFloodMain,
		"models":      modelsMain,
		"control":     controlMain,
		"memfd":       memfdMain,
		"hog":         hogMain,
		"restless":    restlessMain,
		"deletes":     deletesMain,
		"mapping":     mappingMain,
		"plant":       plantMain,
		"names":       namesMain,
		"namesrace":   namesRaceMain,
		"overflow":    overflowMain,
	}
	if len(os.Args) < 3 || helpers[os.Args[2]] == nil {
		fmt.Fprintf(os.Stderr, "no such helper: %q\n", os.Args[2:])
		os.Exit(99)
	}
	os.Exit(helpers[os.Args[2]](os.Args[3:]))
}
