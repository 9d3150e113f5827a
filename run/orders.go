package run

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/agentjail/agentjail/run/control"
)

// handleOrders puts what holds, lets go and ends a run into its control socket's table,
// and what tells how it does.
func (s *session) handleOrders(srv *control.Server) {
	order := func(do func(who string) (any, error)) control.Handler {
		return func(_ context.Context, who control.Peer, params json.RawMessage) (any, error) {
			if err := control.Params(params, &struct{}{}); err != nil {
				return nil, err
			}
			return do(fmt.Sprintf("uid %d", who.UID))
		}
	}
	srv.Handle("freeze", order(func(who string) (any, error) { return s.freeze(who, "") }))
	srv.Handle("thaw", order(func(who string) (any, error) { return struct{}{}, s.thaw(who) }))
	srv.Handle("stop", order(func(who string) (any, error) { return struct{}{}, s.stop(who) }))
	srv.Handle("kill", order(func(who string) (any, error) { s.kill(who); return struct{}{}, nil }))
	srv.Handle("stats", order(func(string) (any, error) { st, _ := s.liveStats(); return st, nil }))
	srv.Handle("pack", func(_ context.Context, who control.Peer, params json.RawMessage) (any, error) {
		var p packParams
		if err := control.Params(params, &p); err != nil {
			return nil, err
		}
		path, err := s.pack(packOptions{who: fmt.Sprintf("uid %d", who.UID), memory: p.Memory})
		return packResult{path}, err
	})
}

// packParams and packResult are what the method "pack" takes and gives.
type packParams struct {
	Memory bool `json:"memory,omitempty"`
}

type packResult struct {
	Path string `json:"path"`
}
