package sys

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// openInNamespace opens a UDP socket in the network namespace of c, which need not be that of
// the calling thread.
func (c *Conn) openInNamespace(v6 bool) (fd int, err error) {
	if fd, err = dgram(v6); err != nil {
		return -1, err
	}
	same := false
	err = onFD(c.rc, func(own int) error {
		here, err1 := cookie(fd)
		there, err2 := cookie(own)
		same = here == there || err1 != nil || err2 != nil // before Linux 5.14 there are no cookies
		return nil
	})
	if same && err == nil {
		return fd, nil
	}
	unix.Close(fd)
	if err != nil {
		return -1, err
	}
	// On a goroutine of its own: if its thread cannot go back, it ends with the goroutine.
	done := make(chan struct{})
	go func() {
		defer close(done)
		fd, err = c.openElsewhere(v6)
	}()
	<-done
	return fd, err
}

// openElsewhere takes the thread into the namespace of c and back. It needs CAP_SYS_ADMIN,
// which a program with sockets in several namespaces has, or had once. The goroutine must
// end after it.
func (c *Conn) openElsewhere(v6 bool) (fd int, err error) {
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
		runtime.UnlockOSThread()
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
