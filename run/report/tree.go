package report

import (
	"cmp"
	"encoding/json"
	"strconv"

	"github.com/agentjail/agentjail/audit"
)

// tree is the processes of a run, as the launches in the trail tell. A pid may come
// again: now has the node that has it at present.
type tree struct {
	nodes []node
	now   map[int]int
	more  int64
}

type node struct {
	pid, parent int // parent: place in nodes, -1 for none
	command     string
	execs       int64
	ended       bool
	exit        string
	failed      bool
	cpu         int64
}

// maxNodes bounds the tree while it is read; an agent starts as many as it likes.
const maxNodes = 50_000

func (t *tree) exec(e audit.Event) {
	var d struct {
		Process struct {
			Parent struct {
				PID int `json:"pid"`
			} `json:"parent_process"`
		} `json:"process"`
	}
	_ = json.Unmarshal(e.Raw, &d) // a launch without a parent is one of its own
	command := cmp.Or(e.Process.CommandLine, e.Process.Path, e.Process.Name)
	pid := e.Process.PID
	if i, known := t.now[pid]; known && pid != 0 && !t.nodes[i].ended {
		t.nodes[i].command = command // it became another program
		t.nodes[i].execs++
		return
	}
	if len(t.nodes) >= maxNodes {
		t.more++
		return
	}
	parent := -1
	if i, known := t.now[d.Process.Parent.PID]; known && d.Process.Parent.PID != pid {
		parent = i
	}
	t.now[pid] = len(t.nodes)
	t.nodes = append(t.nodes, node{pid: pid, parent: parent, command: command, execs: 1})
}

func (t *tree) exit(e audit.Event) {
	i, known := t.now[e.Process.PID]
	if !known || t.nodes[i].ended {
		return
	}
	var u struct {
		Signal string `json:"signal"`
		System int64  `json:"system_cpu_us"`
		User   int64  `json:"user_cpu_us"`
	}
	_ = json.Unmarshal(e.Unmapped, &u) // as above
	n := &t.nodes[i]
	n.ended, n.cpu = true, u.System+u.User
	switch {
	case u.Signal != "":
		n.exit, n.failed = u.Signal, true
	case e.ExitCode != 0:
		n.exit, n.failed = "exit "+strconv.Itoa(e.ExitCode), true
	}
}

// list gives the tree, each process behind its parent. Processes of one parent that ran
// the same command, ended alike and have no children are one line.
func (t *tree) list(r *Report) []Process {
	children := make([][]int, len(t.nodes)+1) // the last: of nobody
	for i, n := range t.nodes {
		at := len(t.nodes)
		if n.parent >= 0 {
			at = n.parent
		}
		children[at] = append(children[at], i)
	}
	out := []Process{}
	type visit struct{ node, depth int }
	var stack []visit
	push := func(list []int, depth int) {
		for k := len(list) - 1; k >= 0; k-- {
			stack = append(stack, visit{list[k], depth})
		}
	}
	type alike struct {
		parent        int
		command, exit string
	}
	same := map[alike]int{}
	push(children[len(t.nodes)], 0)
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		n := t.nodes[v.node]
		leaf := len(children[v.node]) == 0
		k := alike{n.parent, n.command, n.exit}
		if i, known := same[k]; leaf && known {
			out[i].Count++
			out[i].CPU += n.cpu
			continue
		}
		push(children[v.node], v.depth+1)
		if len(out) >= maxProcesses {
			t.more++
			continue
		}
		if leaf {
			same[k] = len(out)
		}
		out = append(out, Process{PID: n.pid, Depth: v.depth, Command: n.command, Execs: n.execs, Count: 1, Exit: n.exit, Failed: n.failed, CPU: n.cpu})
	}
	if t.more > 0 {
		r.More["processes"] += t.more
	}
	return out
}
