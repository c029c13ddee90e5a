package udp

// Info is what a socket was granted and what its system can do for it.
type Info struct {
	ReadBuffer, WriteBuffer int  // kernel buffers granted, bytes, as asked for (Linux reports double)
	PacketInfo              bool // Datagram.To and IfIndex are filled, replies leave from To; where it is false and the socket is bound to one address, To is that one
	ECN                     bool // Datagram.ECN is filled, Message.ECN is obeyed
	ErrorQueue              bool // Refusals come with all their fields
	MulticastFilter         bool // the kernel keeps groups away that others have joined
	Timestamps              bool // Datagram.Time is filled
	GRO                     bool // several datagrams may come in one read (UDP_GRO)
	GSO                     bool // several datagrams may leave in one send (UDP_SEGMENT)
	Segments                int  // how many at the most, with GSO
	Batch                   int  // messages a system call reads or sends at the most

	// PortKept: the port stays bound while the peer changes. Without it Reconnect and
	// Disconnect leave the port to others for a moment, as they do on Linux on an
	// adopted socket whose port the system has chosen.
	PortKept bool
}

// Info returns what holds now: GSO may be given up when a device can't do it.
func (c *Conn) Info() Info {
	i := c.sock.Info()
	return Info{
		ReadBuffer: i.ReadBuffer, WriteBuffer: i.WriteBuffer, PacketInfo: i.PacketInfo, ECN: i.ECN,
		ErrorQueue: i.ErrorQueue, MulticastFilter: i.MulticastFilter, Timestamps: i.Timestamps,
		GRO: i.GRO, GSO: i.Segments > 1, Segments: i.Segments, Batch: i.Batch,
		PortKept: i.PortKept,
	}
}
