package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/agentjail/agentjail/audit"
	"golang.org/x/sys/unix"
)

// openNFLog opens a netlink socket in the current namespace and binds it to the
// group, so that the kernel sends it a copy of each packet that a rule logs.
func openNFLog(group uint16) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return -1, err
	}
	sock := fd // the results are overwritten on the way out
	defer func() {
		if err != nil {
			unix.Close(sock)
		}
	}()
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return -1, err
	}
	// Best kept even where the kernel gives less: a burst of refused packets
	// beyond the buffer is lost to the log, and the loss is recorded.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20); err != nil {
		return -1, err
	}
	mode := make([]byte, 6) // struct nfulnl_msg_config_mode, packed
	binary.BigEndian.PutUint32(mode, nflogSnap)
	mode[4] = nfulCopyPacket
	for _, m := range [][]byte{
		nflogConfig(group, nfulCfgCmd, []byte{nfulCmdBind}),
		nflogConfig(group, nfulCfgMode, mode),
	} {
		if err := netlinkAck(fd, m); err != nil {
			return -1, err
		}
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return -1, err
	}
	return fd, nil
}

// nflogConfig makes an NFULNL_MSG_CONFIG message with one attribute.
func nflogConfig(group uint16, attr uint16, value []byte) []byte {
	size := nlmsgHeaderLen + nfgenHeaderLen + 4 + len(value)
	b := make([]byte, align4(size))
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], nfnlSubsysULog<<8|nfulMsgConfig)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	binary.BigEndian.PutUint16(b[18:], group) // nfgenmsg: family, version, res_id
	binary.NativeEndian.PutUint16(b[20:], uint16(4+len(value)))
	binary.NativeEndian.PutUint16(b[22:], attr)
	copy(b[24:], value)
	return b
}

// netlinkAck sends one request and waits for its acknowledgement.
func netlinkAck(fd int, m []byte) error {
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return err
	}
	if n < nlmsgHeaderLen+4 || binary.NativeEndian.Uint16(buf[4:]) != unix.NLMSG_ERROR {
		return errors.New("unexpected answer from netlink")
	}
	if errno := int32(binary.NativeEndian.Uint32(buf[nlmsgHeaderLen:])); errno != 0 {
		return unix.Errno(-errno)
	}
	return nil
}

// readNFLog reads the log socket and passes on what it reads, until the socket's read
// deadline has passed; then it takes what still lies there and returns.
func readNFLog(f *os.File, refused func(refusedPacket), sink audit.Sink) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("read the log of refused packets: %w", err)
	}
	buf := make([]byte, 64<<10)
	last := false
	for {
		n, from, lost := 0, uint32(0), false
		var rerr error
		receive := func(fd uintptr) bool {
			var sa unix.Sockaddr
			n, sa, rerr = unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			if nl, ok := sa.(*unix.SockaddrNetlink); ok {
				from = nl.Pid
			}
			return !errors.Is(rerr, unix.EAGAIN)
		}
		wait := rc.Read
		if last {
			wait = func(f func(uintptr) bool) error { return rc.Control(func(fd uintptr) { f(fd) }) }
		}
		err := wait(receive)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			last = true
			continue
		case err != nil, last && errors.Is(rerr, unix.EAGAIN):
			return nil // closed, or empty
		case errors.Is(rerr, unix.EINTR):
			continue
		case errors.Is(rerr, unix.ENOBUFS):
			lost = true // netlink(7): messages were dropped, the socket goes on
		case rerr != nil:
			return fmt.Errorf("read the log of refused packets: %w", rerr)
		}
		if lost {
			sink.Emit(audit.Finding{
				Title:    "refused packets were not all logged",
				Detail:   "they came faster than they could be read; every one was refused all the same",
				Severity: "low", Outcome: audit.Blocked,
			})
			continue
		}
		if from != 0 { // only the kernel's own word counts
			continue
		}
		for _, c := range parseNFLog(buf[:n]) {
			refused(c)
		}
	}
}
