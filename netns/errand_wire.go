package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Beside the control socket, supervisor and gateway have a SOCK_SEQPACKET pair for
// errands: small things that only the supervisor can do, some of which bring a
// descriptor back (unix(7), SCM_RIGHTS), and which neither wait behind reports nor
// behind questions that a person answers.
//
//	gateway ──▶ supervisor   errand: a packet of errandLen bytes
//	gateway ◀── supervisor   outcome: a packet of outcomeLen bytes, perhaps a descriptor
//
//	who    the program that has this socket: remembered for the records with this id
//	dial   a connection to a port of the jail that the profile publishes
//	agent  a connection to the host's SSH agent, where the profile has the block
//
// An errand:
//
//	 0 kind  1 protocol  2 flags  4 argument (4 bytes)  8 id (8 bytes)
//	16 the jail's address  32 its port  34 the other's address  50 its port
//
// Numbers are big-endian, addresses IPv6 (IPv4 ones mapped).
const (
	errandLen  = 52
	outcomeLen = 9 // id, and 1 for done

	errandWho   = 1
	errandPeer  = 2 // who, by the pid that a Unix socket's other end has
	errandDial  = 3
	errandAgent = 4

	flagAnswer = 1 // for who: say when it is known
)

// errand is one packet of the gateway.
type errand struct {
	kind   byte
	answer bool
	arg    uint32 // dial: the port, as on the host; peer: the pid
	id     uint64
	ends   endpoints // who
}

func (e errand) marshal() []byte {
	b := make([]byte, errandLen)
	b[0], b[1] = e.kind, e.ends.proto
	if e.answer {
		b[2] = flagAnswer
	}
	binary.BigEndian.PutUint32(b[4:], e.arg)
	binary.BigEndian.PutUint64(b[8:], e.id)
	if e.kind == errandWho {
		putAddrPort(b[16:], e.ends.local)
		putAddrPort(b[34:], e.ends.peer)
	}
	return b
}

func putAddrPort(b []byte, a netip.AddrPort) {
	a16 := a.Addr().As16()
	copy(b, a16[:])
	binary.BigEndian.PutUint16(b[16:], a.Port())
}

func getAddrPort(b []byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[:16])).Unmap(), binary.BigEndian.Uint16(b[16:]))
}

// parseErrand reads a packet, which may be of a gateway that was taken over.
func parseErrand(b []byte) (e errand, err error) {
	if len(b) != errandLen {
		return e, fmt.Errorf("it has %d bytes, not %d", len(b), errandLen)
	}
	e = errand{kind: b[0], answer: b[2] == flagAnswer, arg: binary.BigEndian.Uint32(b[4:]), id: binary.BigEndian.Uint64(b[8:])}
	switch e.kind {
	case errandWho:
		e.ends = endpoints{b[1], getAddrPort(b[16:]), getAddrPort(b[34:])}
		if e.ends.proto != unix.IPPROTO_TCP && e.ends.proto != unix.IPPROTO_UDP {
			return e, fmt.Errorf("it is about protocol %d", e.ends.proto)
		}
		if e.ends.local.Addr().Is4() != e.ends.peer.Addr().Is4() {
			return e, errors.New("it is about two families of addresses")
		}
	case errandPeer, errandDial, errandAgent:
	default:
		return e, fmt.Errorf("there is no errand %d", e.kind)
	}
	if e.id == 0 {
		return e, errors.New("it has no id")
	}
	return e, nil
}

// getID is the id of an outcome.
func getID(b []byte) uint64 { return binary.BigEndian.Uint64(b) }

// receivedFile takes the descriptor out of a message, nil where there is none.
func receivedFile(oob []byte) *os.File {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) != 1 {
		return nil
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return nil
	}
	return os.NewFile(uintptr(fds[0]), "errand")
}

func outcome(id uint64, done bool) []byte {
	b := binary.BigEndian.AppendUint64(nil, id)
	if done {
		return append(b, 1)
	}
	return append(b, 0)
}
