// Agentjail-attack is what `agentjail attack` runs: attacks on a jail, the host's
// canaries that they are aimed at, and the judgement of what became of both.
//
// It is a program of its own, so that nothing of an attack is in the one that people
// trust. It is itself the hostile program: the suite copies it into each jail and tells
// it over its stdin what to try. See package attacks for the attacks and package suite
// for the judge.
package main

import (
	"fmt"
	"os"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
	"github.com/agentjail/agentjail/testdata/attack/suite"
)

func main() { os.Exit(dispatch(os.Args[1:])) }

// dispatch knows each way in which this program is started. None starts it again
// without a name for what the next one is to do, and "try" starts only "one" and "hold".
func dispatch(args []string) int {
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "agentjail-attack: this is the program behind `agentjail attack`\nhint: run that")
		return suite.ExitTrouble
	}
	switch args[0] {
	case attacks.ArgTry:
		return attacks.Main(os.Stdin, os.Stdout, os.Stderr)
	case attacks.ArgOne:
		return attacks.One(args[1:])
	case attacks.ArgHold:
		return attacks.Hold()
	case attacks.ArgEcho:
		return attacks.Echo(args[1:])
	case attacks.ArgReplace:
		return attacks.Replace(args[1:])
	case attacks.ArgMachine:
		return attacks.Machine(args[1:])
	case attacks.ArgMemory:
		return attacks.Memory(args[1:])
	case attacks.ArgReach:
		return attacks.Reach(args[1:])
	case attacks.ArgSelf:
		return attacks.Self(args[1:])
	case attacks.ArgDoors:
		return attacks.TryDoors(os.Stdin, os.Stdout)
	case attacks.ArgHostile:
		return attacks.BeHostile(os.Stdin, os.Stdout)
	case suite.ArgStage:
		return suite.StageMain(os.Stdin, os.Stdout, os.Stderr)
	case suite.ArgLedger:
		fmt.Print(suite.Ledger())
		return 0
	}
	return suite.Main(args, os.Stdout, os.Stderr)
}
