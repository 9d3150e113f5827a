package jail

import (
	"errors"
	"testing"
)

// TestContainerHint holds the layers that libcontainer's texts stand for. Each text
// is one that it was seen to say.
func TestContainerHint(t *testing.T) {
	for _, tt := range []struct{ text, layer string }{
		{"nsexec-1: failed to unshare remaining namespaces: No space left on device; can't get final child's PID from pipe: EOF", "user namespace"},
		{"nsexec-0: failed to unshare user namespace: Operation not permitted", "user namespace"},
		{`error mounting "proc" to rootfs at "/proc": mount src=proc, dst=/proc, dstFd=/proc/thread-self/fd/8, flags=0xe: operation not permitted`, "proc"},
		{"unable to start container process: error during container init: failed to fulfil mount request: failed to set MOUNT_ATTR_IDMAP on /dev/shm/w: invalid argument (maybe the filesystem used doesn't support idmap mounts on this kernel?)", "idmapped mount"},
		{"unable to apply cgroup configuration: mkdir /sys/fs/cgroup/agentjail-1: permission denied", "cgroup"},
	} {
		layer, hint := containerHint(errors.New(tt.text))
		if layer != tt.layer || hint == "" {
			t.Errorf("containerHint(%q) = %q, %q, want %q and a hint", tt.text, layer, hint, tt.layer)
		}
	}
	if layer, hint := containerHint(errors.New("something else")); layer != "container" || hint != "" {
		t.Errorf("an unknown text is %q, %q", layer, hint)
	}
}
