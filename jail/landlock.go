package jail

import (
	"fmt"
	"strings"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// Rights of Landlock's file rules as the plan groups them. What a folder rule
// grants holds for all below it.
const (
	rightsRead = ll.AccessFSReadFile | ll.AccessFSReadDir
	rightsExec = rightsRead | ll.AccessFSExecute
	// Everything but making block and character devices, which no rule grants.
	rightsWrite = rightsRead | ll.AccessFSWriteFile | ll.AccessFSRemoveDir |
		ll.AccessFSRemoveFile | ll.AccessFSMakeDir | ll.AccessFSMakeReg |
		ll.AccessFSMakeSock | ll.AccessFSMakeFifo | ll.AccessFSMakeSym |
		ll.AccessFSRefer | ll.AccessFSTruncate
	rightsDevice = ll.AccessFSReadFile | ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSIoctlDev
	// A socket that a process outside the agent's domain bound. The agent's own need no
	// right, wherever they lie (landlock(7)), so only the rule on a socket that the
	// profile names has it.
	rightResolveUnix = ll.AccessFSResolveUnix
	// What a rule on a plain file may carry (landlock(7)).
	rightsOfFile = ll.AccessFSExecute | ll.AccessFSWriteFile | ll.AccessFSReadFile |
		ll.AccessFSTruncate | ll.AccessFSIoctlDev | ll.AccessFSResolveUnix
)

// landlockABI is what one version of the ABI adds (landlock(7), "Errata" and
// "Access rights"). Rights are handled up to the kernel's own ABI, never beyond.
type landlockABI struct {
	version int
	kernel  string
	fs      uint64
	scoped  uint64
	what    string
}

var landlockABIs = []landlockABI{
	{1, "5.13", 1<<13 - 1, 0, "files"},
	{2, "5.19", ll.AccessFSRefer, 0, "rename and link across folders"},
	{3, "6.2", ll.AccessFSTruncate, 0, "truncate"},
	{5, "6.10", ll.AccessFSIoctlDev, 0, "device ioctl"},
	{6, "6.12", 0, ll.ScopeAbstractUnixSocket | ll.ScopeSignal, "abstract sockets and signals"},
	{9, "7.1", ll.AccessFSResolveUnix, 0, "pathname sockets"},
}

// LandlockPlan is the ruleset: what is handled (so refused unless a rule grants
// it) and the rules.
//
// ABI 4's TCP rules are left alone on purpose: they know ports only, so they would
// either shut out the agent's own servers on loopback or allow a port to the whole
// world. The network namespace decides both by address (package netns).
type LandlockPlan struct {
	ABI    int            `json:"abi"`
	FS     uint64         `json:"fs"`
	Scoped uint64         `json:"scoped"`
	Rules  []LandlockRule `json:"rules"`
}

// LandlockRule grants rights below a path of the jail.
type LandlockRule struct {
	Path   string `json:"path"`
	Rights uint64 `json:"rights"`
	File   bool   `json:"file,omitempty"` // the path is no folder
	Origin string `json:"origin,omitempty"`
}

// planLandlock takes every right that the kernel's ABI has.
func planLandlock(abi int, rules []LandlockRule) LandlockPlan {
	p := LandlockPlan{ABI: abi}
	for _, v := range landlockABIs {
		if abi >= v.version {
			p.FS |= v.fs
			p.Scoped |= v.scoped
		}
	}
	for _, r := range rules {
		r.Rights &= p.FS
		if r.File {
			r.Rights &= rightsOfFile
		}
		if r.Rights != 0 {
			p.Rules = append(p.Rules, r)
		}
	}
	return p
}

// describe says what of Landlock is in force and what the kernel is too old for.
func (p LandlockPlan) describe() (detail string, complete bool) {
	var missing []string
	for _, v := range landlockABIs {
		if p.ABI < v.version && v.version <= 6 {
			missing = append(missing, fmt.Sprintf("%s (Linux %s)", v.what, v.kernel))
		}
	}
	detail = fmt.Sprintf("ABI %d, %d rules", p.ABI, len(p.Rules))
	if len(missing) > 0 {
		return detail + "; this kernel is too old for: " + strings.Join(missing, ", "), false
	}
	return detail + ", every right that the kernel has", true
}
