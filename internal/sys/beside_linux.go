package sys

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// beside opens a socket in the network namespace of c, which need not be the
// one of this thread.
func (c *Conn) beside(v6 bool) (fd int, err error) {
	if fd, err = dgram(v6); err != nil {
		return -1, err
	}
	same := false
	err = onFD(c.rc, func(own int) error {
		here, err1 := cookie(fd)
		there, err2 := cookie(own)
		same = here == there || err1 != nil || err2 != nil // Linux below 5.14 can't tell
		return nil
	})
	if same && err == nil {
		return fd, nil
	}
	unix.Close(fd)
	if err != nil {
		return -1, err
	}
	return c.besideElsewhere(v6)
}

// besideElsewhere takes the thread into the namespace of c for a moment. It
// needs CAP_SYS_ADMIN, which a program with sockets in several namespaces has,
// or had once.
func (c *Conn) besideElsewhere(v6 bool) (fd int, err error) {
	runtime.LockOSThread()
	before, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return -1, sysErr("open", err)
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
		return -1, err
	}
	fd, err = dgram(v6)
	if unix.Setns(before, unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread() // else the thread ends with its goroutine
	}
	return fd, err
}

func dgram(v6 bool) (int, error) {
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	return fd, sysErr("socket", err)
}
