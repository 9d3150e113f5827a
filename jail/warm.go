package jail

import (
	"encoding/json"
	"os"

	"github.com/opencontainers/runc/libcontainer"
)

// Warm does beforehand what the first process that this one starts would wait for: Go finds
// out with a process of its own whether the kernel has pidfds, once (os, checkPidfdOnce).
func Warm() {
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Release()
	}
}

// WarmCoders does so for the first jail: whoever starts one lets it run beside what comes
// before that.
func WarmCoders() {
	// encoding/json makes the coder of a type when it first meets it. These are large.
	state, err := json.Marshal(libcontainer.State{BaseState: libcontainer.BaseState{Config: *containerConfig(Base{}, nil)}})
	if err == nil {
		_ = json.Unmarshal(state, new(libcontainer.State))
	}
	_, _ = json.Marshal(shimPlan{Plan: &Plan{}})
}
