package channel

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/agentjail/agentjail/run/approval"
)

// busTimeout is how long the desktop may take to show a notification.
const busTimeout = 5 * time.Second

// Notify shows a question on the desktop that a session bus leads to: address is what
// DBUS_SESSION_BUS_ADDRESS says, and without it there is no desktop. (godbus would start
// dbus-launch then.) See the Desktop Notifications Specification, which calls the body
// markup.
func Notify(ctx context.Context, address string, q approval.Question) error {
	if address == "" {
		return errors.New("DBUS_SESSION_BUS_ADDRESS is not set: there is no desktop to tell")
	}
	ctx, cancel := context.WithTimeout(ctx, busTimeout)
	defer cancel()
	conn, err := dbus.Dial(address, dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("the session bus: %w", err)
	}
	defer conn.Close()
	if err := conn.Auth(nil); err != nil {
		return fmt.Errorf("the session bus: %w", err)
	}
	if err := conn.Hello(); err != nil {
		return fmt.Errorf("the session bus: %w", err)
	}
	left := max(0, time.Until(q.Deadline)).Milliseconds()
	call := conn.Object("org.freedesktop.Notifications", "/org/freedesktop/Notifications").CallWithContext(ctx, "org.freedesktop.Notifications.Notify", 0,
		"agentjail", uint32(0), "dialog-question", "agentjail asks", bodyText(q), []string{}, map[string]dbus.Variant{"urgency": dbus.MakeVariant(byte(2))}, int32(min(left, 1<<30)))
	if call.Err != nil {
		return fmt.Errorf("the desktop's notifications: %w", call.Err)
	}
	return nil
}

// bodyText is a question as a notification. Nothing in it is markup: what the agent wrote
// is ASCII already (approval.Text), and the three characters that begin some are escaped.
func bodyText(q approval.Question) string {
	text := q.What
	if q.Program != "" {
		text += "\nby " + q.Program
	}
	if q.Reason != "" {
		text += "\n" + q.Reason
	}
	text += "\nagentjail approve --yes " + q.ID
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
}
