//go:build udpbasic || !linux

package sys

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/socket"
)

// This is the portable packet path: net.UDPConn's calls, one datagram at a time. It has no error
// queue; an ICMP message is the error of the next read or send.

// packetPath is the state of the portable packet path.
type packetPath struct{ broadcasts broadcasts }

func (*packetPath) wake() {}

// coalesce does nothing: there are no coalesced packets here.
func (*packetPath) coalesce(syscall.RawConn) {}

func (*packetPath) setup(int, bool, socket.Options, *socket.Info) error { return nil }

func setTransmitTimestamps(syscall.RawConn) error { return errors.ErrUnsupported }

func (c *Conn) peerChanged(netip.AddrPort) error { return nil }

func (c *Conn) currentInfo() socket.Info {
	info := c.info
	info.PortKept = c.portKept.Load()
	info.Segments = c.Segments()
	return info
}

func (c *Conn) batch() int { return 1 }

// drainErrors bounds the failed reads while draining.
const drainErrors = 64

// drainWait is how long a drain waits for a queued datagram on systems that do not report whether
// there is one, since net.UDPConn can't read without waiting.
const drainWait = 20 * time.Millisecond

// read reads one datagram. If no control messages are enabled it uses recvfrom, which is cheaper
// than recvmsg.
func (c *Conn) read(p, oob []byte) (n, oobn, flags int, from netip.AddrPort, err error) {
	if !c.keeps && !c.info.PacketInfo && !c.info.Timestamps && !c.info.ECN {
		n, from, err = c.uc.ReadFromUDPAddrPort(p)
		return n, 0, 0, from, err
	}
	return c.uc.ReadMsgUDPAddrPort(p, oob)
}

// packet makes a packet of the results of read.
func (c *Conn) packet(b *buffer.Buffer, n int, oob []byte, flags int, from netip.AddrPort) socket.Packet {
	m := cmsg.Received{To: c.only}
	cmsg.Parse(oob, &m)
	if m.Own && cmsg.OwnMayBeBroadcast {
		m.Own = !c.path.broadcasts.has(m.To, time.Now())
	}
	var control []byte
	if c.keeps {
		control = bytes.Clone(oob)
	}
	return socket.Packet{
		Control: control,
		Data:    b.B[:n], Buf: b, From: unmap(from),
		To: netip.AddrPortFrom(c.zoned(m.To, m.IfIndex), m.Port), Own: m.Own,
		IfIndex: m.IfIndex, TTL: m.TTL, TrafficClass: m.TrafficClass, Time: m.Time,
		ControlTruncated: cmsg.Truncated(flags) && c.info.PacketInfo && !m.To.IsValid(),
	}
}

// soon is a deadline that lets a read take what is queued before the Sink is asked again.
const soon = time.Millisecond

// Serve implements socket.Socket.
func (c *Conn) Serve(sink socket.Sink) error {
	var (
		oob      = make([]byte, cmsg.Space)
		ps       = make([]socket.Packet, 1)
		b        *buffer.Buffer // reused unless it was retained
		draining bool
		budget   = 1 // bytes that may have been queued when draining began
		perError int // budget of one error
	)
	if c.ownOptions {
		oob = make([]byte, moreSpace(len(oob)))
	}
	release := func() {
		if b != nil {
			b.Release(1)
			b = nil
		}
	}
	defer release()
	waiter := newWaiter(release)
	for budget > 0 {
		if draining {
			switch waits, known := queued(c.rc); {
			case !known:
				c.uc.SetReadDeadline(time.Now().Add(drainWait))
			case !waits:
				return nil
			}
		}
		var (
			n, oobn, flags int
			from           netip.AddrPort
		)
		err := waiter.wait(c.rc)
		if err == nil {
			if b == nil {
				b = buffer.Get()
			}
			n, oobn, flags, from, err = c.read(b.B, oob)
		}
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				if _, known := queued(c.rc); draining && !known {
					return nil
				}
				// Cleared first, so that the next read notices a later Wake.
				c.uc.SetReadDeadline(time.Time{})
				if lost := c.lost.Load(); lost != nil {
					return *lost
				}
				action := sink.Woken()
				if draining && action != socket.Stop {
					continue
				}
				switch action {
				case socket.Soon:
					c.uc.SetReadDeadline(time.Now().Add(soon))
				case socket.Drain:
					size := bufferSize(c.rc, readBuffer)
					draining, budget = true, size*bufferFactor
					perError = size / drainErrors
				case socket.Stop:
					return nil
				}
				continue
			}
			if Classify(err) == Closed {
				return unwrapOp(err)
			}
			if errors.Is(err, ECONNABORTED) {
				if err := c.destroyed(); err != nil {
					return err
				}
				continue
			}
			if !sink.Fault(unwrapOp(err)) {
				return nil
			}
			if draining {
				budget -= perError // a Handler that sends after each error may cause the next
			}
			continue
		}
		ps[0] = c.packet(b, n, oob[:oobn], flags, from)
		if cmsg.Truncated(flags) {
			oob = make([]byte, moreSpace(len(oob)))
		}
		more := sink.Packets(ps)
		if !b.Recycle() {
			b.Release(1)
			b = nil
		}
		if !more {
			return nil
		}
		if draining {
			budget -= n + minSkb
		}
	}
	return nil
}
