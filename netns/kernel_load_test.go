package netns

import (
	"testing"

	"github.com/agentjail/agentjail/profiles"
)

// TestKernelDNSBurst: many questions at once, the first of them before the gateway
// runs. A question that does not fit into the kernel's buffer costs its asker seconds.
//
// With one socket and the kernel's default of room for it, 256 of 1000 are answered.
func TestKernelDNSBurst(t *testing.T) {
	b := newBox(t, profiles.Network{Allow: []profiles.NetRule{allow(1, "api.example", profiles.ProtocolTCP, echo(t), 443)}})
	for range 2 {
		if got := b.do("dnsburst", "api.example 1000"); got != `{"ok":1000}` {
			t.Errorf("1000 questions at once: %s", got)
		}
	}
}
