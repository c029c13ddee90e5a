package sys

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// openInNamespace opens a UDP socket in the network namespace of c, even if that of the calling
// thread is another.
func (c *Conn) openInNamespace(v6 bool) (fd int, err error) {
	if fd, err = dgram(v6); err != nil {
		return -1, err
	}
	same, err := c.sharesNamespace(fd)
	if same && err == nil {
		return fd, nil
	}
	unix.Close(fd)
	if err != nil {
		return -1, err
	}
	err = c.elsewhere(func() (err error) {
		fd, err = dgram(v6)
		return err
	})
	return fd, err
}

// sharesNamespace reports whether c and the socket fd are in one network namespace. They are
// taken to be where that cannot be found out.
func (c *Conn) sharesNamespace(fd int) (same bool, err error) {
	err = onFD(c.rc, func(own int) error {
		here, err1 := namespaceOf(fd)
		there, err2 := namespaceOf(own)
		same = here == there || err1 != nil || err2 != nil
		return nil
	})
	return same, err
}

// namespaceOf identifies the network namespace of a socket, as Namespace.ID does. Before
// Linux 5.14 it needs CAP_NET_ADMIN there, which a program that changes namespaces has.
func namespaceOf(fd int) (uint64, error) {
	if id, err := cookie(fd); err == nil {
		return id, nil
	}
	return inodeOf(fd)
}

// inodeOf returns the inode of the socket's network namespace (Linux 4.10).
func inodeOf(fd int) (uint64, error) {
	ns, err := unix.IoctlRetInt(fd, unix.SIOCGSKNS)
	if err != nil {
		return 0, sysErr("ioctl", err)
	}
	defer unix.Close(ns)
	var st unix.Stat_t
	if err := unix.Fstat(ns, &st); err != nil {
		return 0, sysErr("fstat", err)
	}
	return st.Ino, nil
}

// Interfaces implements socket.Socket.
func (c *Conn) Interfaces() (ifs []socket.Interface, err error) {
	n, err := Here()
	if err != nil {
		return nil, err
	}
	defer n.Close()
	same := false
	err = onFD(c.rc, func(own int) error {
		there, err := namespaceOf(own)
		same = err != nil || n.ID() == 0 || n.ID() == there
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case same:
		return n.Interfaces()
	}
	err = c.elsewhere(func() (err error) {
		ifs, err = Kernel{}.Interfaces()
		return err
	})
	return ifs, err
}

// elsewhere calls f on a new goroutine in the namespace of c. If its thread cannot return to its
// namespace, the thread ends with the goroutine.
func (c *Conn) elsewhere(f func() error) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = c.inside(f)
	}()
	<-done
	return err
}

// inside moves the thread into the namespace of c, calls f and moves it back. That needs
// CAP_SYS_ADMIN, which a program with sockets in several namespaces has, unless it gave it up.
// The goroutine must end afterwards.
func (c *Conn) inside(f func() error) error {
	runtime.LockOSThread()
	before, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return sysErr("open", err)
	}
	defer unix.Close(before)
	err = onFD(c.rc, func(own int) error {
		there, err := unix.IoctlRetInt(own, unix.SIOCGSKNS)
		if err != nil {
			return sysErr("ioctl", err)
		}
		defer unix.Close(there)
		return sysErr("setns", unix.Setns(there, unix.CLONE_NEWNET))
	})
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	if unix.Setns(before, unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return err
}

func dgram(v6 bool) (int, error) {
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	return fd, sysErr("socket", err)
}
