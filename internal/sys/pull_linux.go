//go:build !udpbasic

package sys

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/socket"
)

// puller reads a socket for its callers: many datagrams with one recvmmsg, into buffers that it
// keeps only while they hold datagrams, or one datagram into the caller's memory.
type puller struct {
	receiver
	direct direct
	step   func(fd uintptr) bool // p.read, made once
	got    int                   // messages that the last call returned
	waited bool                  // it had to wait for them
	errno  syscall.Errno         // or the error that it returned
	report *socket.ReportError   // the ICMP message to return
}

// Puller implements socket.Pulled.
func (c *Conn) Puller() socket.Puller {
	if c.ownOptions {
		c.path.moreSpace(cmsg.Space)
	}
	p := &puller{receiver: receiver{conn: c, slots: 1}}
	p.step = p.read
	return p
}

// Pull implements socket.Puller.
func (p *puller) Pull(into []byte, withControl bool) ([]socket.Packet, error) {
	p.direct.into, p.direct.withControl = into, withControl
	defer p.direct.end()
	c := p.conn
	for {
		p.got, p.errno, p.report, p.waited = 0, 0, nil, false
		err := c.rc.Read(p.step)
		if err != nil {
			switch class := Classify(err); {
			case class == Closed:
				return nil, unwrapOp(err)
			case c.pull.answer(c, err):
				if lost := c.lost.Load(); lost != nil {
					return nil, *lost
				}
				if p.pop() {
					return nil, p.report
				}
				return nil, nil
			case class == Deadline:
				return nil, unwrapOp(err)
			}
			// The poller refuses to wait: see Serve. Reading still works.
			if cerr := c.rc.Control(func(fd uintptr) { p.read(fd) }); cerr != nil {
				return nil, unwrapOp(cerr)
			}
		}
		switch {
		case p.report != nil:
			return nil, p.report
		case p.errno == unix.ECONNABORTED:
			if err := c.destroyed(); err != nil {
				return nil, err
			}
		case p.errno != 0:
			return nil, sysErr("recvmmsg", p.errno)
		case p.direct.read:
			return p.direct.unpack(c), nil
		case p.got > 0:
			p.unpack(p.got)
			return p.batch.packets[:p.got], nil
		case err != nil:
			time.Sleep(unpollable)
		}
	}
}

// Done implements socket.Puller.
func (p *puller) Done() {
	if p.batch != nil {
		clear(p.batch.packets[:p.got])
		p.giveBack()
		return
	}
	p.direct.packet[0] = socket.Packet{}
}

// read is called by RawConn.Read until it returns true. RawConn.Read waits after a call that
// returned false, so the first call gets what was queued before.
func (p *puller) read(fd uintptr) bool {
	if p.conn.path.reports.Load() && p.pop() {
		return true
	}
	for {
		var (
			n      int
			errno  syscall.Errno
			direct = p.direct.possible(p)
		)
		if direct {
			errno = p.direct.receive(fd)
		} else {
			n, errno = p.receiver.read(fd)
		}
		switch {
		case errno == unix.EINTR:
			continue
		case errno == 0 && direct:
			if !p.waited { // there may be more
				p.slots = minBatch
			}
		case errno == unix.EAGAIN:
			p.waited = true
			p.giveBack()
			return false
		case direct && Classify(errno) == Other:
			p.direct.rejected = true // perhaps by a sandbox; any other error returns with the next call
			continue
		case errno != 0:
			if p.giveBack(); p.conn.path.reports.Load() && p.reported(errno) {
				if p.conn.path.queue.take(p.conn, int(fd)); p.pop() {
					return true
				}
			}
			p.errno = errno
		default:
			// After a wait datagrams arrive one by one. Otherwise more may be queued.
			if p.waited {
				p.slots = max(p.slots/2, 1)
			} else {
				p.adapt(n)
			}
			p.got = n
		}
		return true
	}
}

// pop takes a pending ICMP error.
func (p *puller) pop() bool {
	if !p.conn.path.reports.Load() {
		return false
	}
	r, ok := p.conn.path.queue.pop()
	if ok {
		p.report = &socket.ReportError{Report: r}
	}
	return ok
}

// Uncoalesced implements socket.Pulled.
func (c *Conn) Uncoalesced() error {
	c.path.gro.mu.Lock()
	defer c.path.gro.mu.Unlock()
	c.path.gro.state.Store(groMissing)
	return onFD(c.rc, func(fd int) error {
		err := unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 0)
		if on, _ := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO); on == 0 {
			err = nil // before Linux 5.0 and in a sandbox there is no UDP_GRO to disable
		}
		return sysErr("setsockopt", err)
	})
}
