package sys

import (
	"net"

	"golang.org/x/sys/unix"
)

// keepPort makes a socket that was bound to port 0 keep its port when its peer changes. When a
// socket is disconnected, Linux releases a port that it chose itself, and keeps one that was
// passed to bind(2) (SOCK_BINDPORT_LOCK; __udp_disconnect in net/ipv4/udp.c). Another program
// could then take the port. So the socket, which nobody knows yet, releases its port now and
// binds to it by number.
//
// It returns EADDRINUSE if another program was faster. After any error the socket may have no
// port.
func keepPort(uc *net.UDPConn, mayHaveDevice bool) (kept bool, err error) {
	rc, err := uc.SyscallConn()
	if err != nil {
		return false, unwrapOp(err)
	}
	err = onFD(rc, func(fd int) error {
		local, err := localOf(uc, fd)
		if err != nil {
			return sysErr("getsockname", err)
		}
		if portOf(local) == 0 { // IP_BIND_ADDRESS_NO_PORT
			return nil
		}
		device := 0
		if mayHaveDevice {
			device = deviceOf(fd)
		}
		if err := dissolve(fd); err != nil {
			return err
		}
		if err := setDevice(fd, device); err != nil {
			return err
		}
		kept = true
		err = unix.Bind(fd, local)
		if now, nerr := socketName(fd); err == unix.EINVAL && nerr == nil && portOf(now) == portOf(local) {
			return nil // it did not release the port, as in gVisor
		}
		return sysErr("bind", err)
	})
	return kept && err == nil, err
}

func portOf(sa unix.Sockaddr) int {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return sa.Port
	case *unix.SockaddrInet6:
		return sa.Port
	}
	return 0
}

// deviceOf returns the interface that the socket is bound to, 0 for none.
func deviceOf(fd int) int {
	index, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX) // Linux 5.0
	if err != nil {
		name, _ := unix.GetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
		index = interfaceIndex(fd, name)
	}
	return index
}

func setDevice(fd, index int) error {
	if index == 0 {
		return nil
	}
	return sysErr("setsockopt", bindToIndex(fd, index))
}

// bindToIndex binds the socket to an interface, or with 0 to none.
func bindToIndex(fd, index int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, index)
	if err != nil {
		if name := interfaceName(fd, index); (name != "" || index == 0) && unix.BindToDevice(fd, name) == nil {
			return nil
		}
	}
	return err
}
