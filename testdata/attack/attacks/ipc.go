package attacks

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ipc are attacks on sockets, memory and queues that the host's programs share.
func ipc() []Attack {
	list := []Attack{
		{ID: "abstract-socket", Line: 41, What: "connect to an abstract socket of the host", Class: "CVE-2020-15257", Without: Plain,
			Try: func(t *Target) string { return dialMark(t, "unix", "@"+t.Abstract) }, Stopped: []Stop{by(NetNS, "ECONNREFUSED"), by(Landlock, "EPERM")}},
		{ID: "socket-outside", Line: 42, What: "connect to a socket beside the workspace", Class: "CVE-2026-47128: docker, ssh-agent, D-Bus, Wayland", Without: Plain,
			Try: func(t *Target) string { return dialMark(t, "unix", t.Dropbox+"/socket") }, Stopped: []Stop{gone()}},
		{ID: "socket-outside-datagram", Line: 42, What: "send a datagram to a socket beside the workspace", Class: "syslog, sd_notify", Without: Plain,
			Try: func(t *Target) string { return dialMark(t, "unixgram", t.Dropbox+"/datagrams") }, Stopped: []Stop{gone()}},
		{ID: "socket-granted", Line: 42, What: "connect to a socket in a folder that the profile only reads", Class: "a read-only mount does not stop connect", Without: Plain,
			Try:     func(t *Target) string { return dialMark(t, "unix", t.Readonly+"/socket") },
			Stopped: []Stop{by(FileView, "ENOENT", "ECONNREFUSED", "ENOTSOCK"), by(Landlock, "EACCES", "EPERM")}},
		{ID: "socket-workspace", Line: 42, What: "connect to a socket in the workspace", Class: "an overlay that leads to the socket below", Without: Plain,
			Try:     func(t *Target) string { return dialMark(t, "unix", t.Workspace+"/socket") },
			Stopped: []Stop{by(Overlay, "ECONNREFUSED", "ENOTSOCK"), by(FileView, "ENOENT"), by(Landlock, "EACCES", "EPERM")}},
		{ID: "socket-granted-datagram", Line: 42, What: "send a datagram to a socket in a folder that the profile only reads", Class: "a read-only mount does not stop sendto", Without: Plain,
			Try:     func(t *Target) string { return dialMark(t, "unixgram", t.Readonly+"/datagrams") },
			Stopped: []Stop{by(FileView, "ENOENT", "ECONNREFUSED", "ENOTSOCK"), by(Landlock, "EACCES", "EPERM")}},
		{ID: "shared-memory", Line: 45, What: "attach to a shared memory segment of the host", Class: "other programs' memory", Without: Plain,
			Try: func(t *Target) string { return call(unix.SYS_SHMGET, uintptr(t.IPCKey), 0, 0) }, Stopped: []Stop{by(IPCNS, "ENOENT")}},
		{ID: "message-queue", Line: 45, What: "open a message queue of the host", Class: "other programs' messages", Without: Plain,
			Try: func(t *Target) string { return call(unix.SYS_MSGGET, uintptr(t.IPCKey), 0) }, Stopped: []Stop{by(IPCNS, "ENOENT")}},
		{ID: "posix-shared-memory", Line: 45, What: "open a file in the host's /dev/shm", Class: "other programs' memory", Without: Plain,
			Try: func(t *Target) string { return writeMark(t, t.Shm) }, Stopped: []Stop{gone()}},
		{ID: "loopback-tcp", Line: 48, What: "connect to the host's 127.0.0.1", Class: "a database without a password", Without: Plain,
			Try: func(t *Target) string { return dialMark(t, "tcp", "127.0.0.1:"+strconv.Itoa(t.Port)) }, Stopped: []Stop{by(NetNS, "ECONNREFUSED")}},
		{ID: "loopback-udp", Line: 48, What: "send to the host's 127.0.0.1", Class: "a name server, syslog", Without: Plain,
			Try: func(t *Target) string { return dialMark(t, "udp", "127.0.0.1:"+strconv.Itoa(t.Port)) }, Stopped: []Stop{by(NetNS, "ECONNREFUSED")}},
		{ID: "loopback-any", Line: 48, What: "connect to the host by 0.0.0.0", Class: "an address that means this host", Without: Plain,
			Try: func(t *Target) string { return dialMark(t, "tcp", "0.0.0.0:"+strconv.Itoa(t.Port)) }, Stopped: []Stop{by(NetNS, "ECONNREFUSED")}},
	}
	for id, path := range map[string]string{"docker": "/run/docker.sock", "containerd": "/run/containerd/containerd.sock", "system-bus": "/run/dbus/system_bus_socket",
		"podman": "/run/podman/podman.sock", "systemd-private": "/run/systemd/private", "x11": "/tmp/.X11-unix/X0", "snapd": "/run/snapd.socket"} {
		list = append(list, Attack{ID: "socket-" + id, Line: 42, What: "find " + path, Class: "CVE-2026-47128: whoever can talk to it is you, or root", Without: Looked,
			Try: func(*Target) string { return present(path) }, Look: func(*Target) string { return present(path) }, Stopped: []Stop{gone(), by(Landlock, "EACCES")}})
	}
	return append(list, Attack{ID: "session-bus", Line: 42, What: "find the caller's session bus or Wayland", Class: "CVE-2026-47128: systemd-run --user", Without: Looked,
		Try:  func(t *Target) string { return present(t.Runtime) },
		Look: func(t *Target) string { return present(t.Runtime) }, Stopped: []Stop{gone()}})
}

// ShortSocket is another path to a socket, one that fits into the 108 bytes of a
// sockaddr_un (unix(7)) however deep its folder is.
func ShortSocket(path string) (short string, done func() error, err error) {
	dir, err := os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), dir.Close, nil
}

// dialMark connects and leaves the mark. UDP says what became of it at the next call.
func dialMark(t *Target, network, address string) string {
	if strings.HasPrefix(address, "/") {
		short, done, err := ShortSocket(address)
		if err != nil {
			return answer(err)
		}
		defer done()
		address = short
	}
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.Dial(network, address)
	if err != nil {
		return answer(err)
	}
	defer conn.Close()
	if _, err = conn.Write([]byte(t.Mark() + "\n")); err == nil && network == "udp" {
		_, err = conn.Write([]byte(t.Mark() + "\n"))
	}
	return answer(err)
}

// rtAddress asks the kernel by netlink to put an address on the loopback interface:
// rtnetlink(7), RTM_NEWADDR.
func rtAddress(address [4]byte) string {
	var m bytes.Buffer
	body := unix.IfAddrmsg{Family: unix.AF_INET, Prefixlen: 32, Scope: unix.RT_SCOPE_HOST, Index: 1}
	_ = binary.Write(&m, binary.NativeEndian, body)
	for _, kind := range []uint16{unix.IFA_LOCAL, unix.IFA_ADDRESS} {
		_ = binary.Write(&m, binary.NativeEndian, unix.RtAttr{Len: 8, Type: kind})
		m.Write(address[:])
	}
	return rtnetlink(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, m.Bytes())
}

// rtRoute asks for a route to everywhere by the loopback interface: RTM_NEWROUTE.
func rtRoute() string {
	var m bytes.Buffer
	_ = binary.Write(&m, binary.NativeEndian, unix.RtMsg{Family: unix.AF_INET, Dst_len: 8, Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_STATIC, Type: unix.RTN_UNICAST, Scope: unix.RT_SCOPE_LINK})
	_ = binary.Write(&m, binary.NativeEndian, unix.RtAttr{Len: 8, Type: unix.RTA_DST})
	m.Write([]byte{11, 0, 0, 0})
	_ = binary.Write(&m, binary.NativeEndian, unix.RtAttr{Len: 8, Type: unix.RTA_OIF})
	_ = binary.Write(&m, binary.NativeEndian, uint32(1))
	return rtnetlink(unix.RTM_NEWROUTE, unix.NLM_F_CREATE, m.Bytes())
}

// rtLink asks to take the loopback interface down: RTM_NEWLINK.
func rtLink() string {
	var m bytes.Buffer
	_ = binary.Write(&m, binary.NativeEndian, unix.IfInfomsg{Family: unix.AF_UNSPEC, Index: 1, Change: unix.IFF_UP})
	return rtnetlink(unix.RTM_NEWLINK, 0, m.Bytes())
}

func rtnetlink(kind uint16, flags uint16, body []byte) string {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return answer(err)
	}
	defer unix.Close(fd)
	var m bytes.Buffer
	_ = binary.Write(&m, binary.NativeEndian, unix.NlMsghdr{Len: uint32(int(unsafe.Sizeof(unix.NlMsghdr{})) + len(body)), Type: kind, Flags: unix.NLM_F_REQUEST | unix.NLM_F_ACK | flags, Seq: 1})
	m.Write(body)
	if err := unix.Sendto(fd, m.Bytes(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return answer(err)
	}
	reply := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, reply, 0)
	if err != nil || n < 20 {
		return "no answer"
	}
	// struct nlmsgerr: the errno, negative, behind the header.
	return name(unix.Errno(-int32(binary.NativeEndian.Uint32(reply[16:]))))
}
