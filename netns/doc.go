// Package netns is the jail's network: what PID 1 sets up in the jail's network
// namespace, the gateway process that serves it from the host's side, and the
// supervisor's part, which starts the gateway and reads what the kernel refused.
//
// The jail's namespace has only lo, and a route that makes every address local.
// So each connection ends at one of our sockets or is refused by the kernel at
// once; no packet leaves the namespace. PID 1 opens the sockets in there and hands
// them out. The gateway accepts, decides by the profile, dials from the host's
// side and splices.
//
//	jail's network namespace                     host
//	  agent ── connect ──▶ listening socket ───▶ GATEWAY ── decide, dial ──▶ upstream
//	  agent ── DNS ──────▶ 10.0.2.3:53 ────────▶ GATEWAY    (nothing goes upstream)
//	  agent ── the rest ─▶ ECONNREFUSED
//	                 └ nftables copies the header ──▶ NFLOG socket ──▶ SUPERVISOR
//
// The package never lets a packet be forwarded, never opens a listening socket on
// the host's side, never changes the host's network, and never decides by itself:
// every verdict is the profile's. nftables is used to log and to redirect, never
// as the thing that keeps the agent in: without it there is less to see and less
// that works, and nothing more to reach.
package netns
