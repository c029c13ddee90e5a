package udp

import (
	"fmt"
	"log/slog"
	"strings"
)

// Info is what a socket was granted and what its system can do for it.
type Info struct {
	ReadBuffer, WriteBuffer int // kernel buffers granted, bytes, as asked for (Linux reports double)
	// PacketInfo: Datagram.To and IfIndex are known, and replies leave from To. If it
	// is false and the socket is bound to one address, To is that one. In gVisor it is
	// false although To is known: replies leave from an address that the system chooses.
	PacketInfo      bool
	ECN             bool     // Datagram.ECN is filled, Message.ECN is obeyed
	ErrorQueue      bool     // Refusals come with all their fields
	MulticastFilter bool     // the kernel keeps groups away that others have joined
	Timestamps      bool     // Datagram.Time is filled
	GRO             bool     // several datagrams may come in one read (UDP_GRO)
	GSO             bool     // several datagrams may leave in one send (UDP_SEGMENT, UDP_SEND_MSG_SIZE)
	Segments        int      // how many at the most, with GSO
	Batch           int      // messages a system call reads or sends at the most
	Steering        Steering // how the port's datagrams find their socket, in a Group

	// PortKept: the port stays bound while the peer changes. Without it, Reconnect and
	// Disconnect release the port for a moment. On Linux that is so for an adopted
	// socket whose port the system has chosen.
	PortKept bool
}

// Info returns what holds now. That can change: GSO is given up when a device cannot do
// it.
func (c *Conn) Info() Info {
	if !c.ok() {
		return Info{}
	}
	i := c.sock.Info()
	l := c.sock.Limits()
	return Info{
		ReadBuffer: l.ReadBuffer, WriteBuffer: l.WriteBuffer, PacketInfo: i.PacketInfo, ECN: i.ECN,
		ErrorQueue: i.ErrorQueue, MulticastFilter: i.MulticastFilter, Timestamps: i.Timestamps,
		GRO: i.GRO, GSO: i.Segments > 1, Segments: i.Segments, Batch: l.Batch,
		PortKept: i.PortKept, Steering: c.group.Steering(),
	}
}

// attrs lists what there is.
func (i Info) attrs() (attrs []slog.Attr) {
	number := func(name string, n int) {
		if n != 0 {
			attrs = append(attrs, slog.Int(name, n))
		}
	}
	flag := func(name string, on bool) {
		if on {
			attrs = append(attrs, slog.Bool(name, true))
		}
	}
	number("read_buffer", i.ReadBuffer)
	number("write_buffer", i.WriteBuffer)
	flag("packet_info", i.PacketInfo)
	flag("ecn", i.ECN)
	flag("error_queue", i.ErrorQueue)
	flag("multicast_filter", i.MulticastFilter)
	flag("timestamps", i.Timestamps)
	flag("gro", i.GRO)
	flag("gso", i.GSO)
	number("segments", i.Segments)
	number("batch", i.Batch)
	if i.Steering != SteeringNone {
		attrs = append(attrs, slog.String("steering", i.Steering.String()))
	}
	flag("port_kept", i.PortKept)
	return attrs
}

// String lists what there is, for people.
func (i Info) String() string {
	var words []string
	for _, a := range i.attrs() {
		if a.Value.Kind() == slog.KindBool {
			words = append(words, a.Key)
		} else {
			words = append(words, fmt.Sprint(a.Key, "=", a.Value))
		}
	}
	return strings.Join(words, " ")
}

// LogValue implements [slog.LogValuer].
func (i Info) LogValue() slog.Value { return slog.GroupValue(i.attrs()...) }
