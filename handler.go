package udp

// A Handler is what a socket's goroutine tells about its datagrams. The four
// methods are never called at the same time for one socket. A Handler may serve
// several sockets; calls for different sockets do run at the same time.
//
// A panic in any of them is recovered, logged with its stack to [Config.Logger],
// if that is set, and counted in [Stats]; the socket goes on.
type Handler interface {
	// Started is called once, on the goroutine that called Listen, Dial or
	// ListenMulticast and before that returns, before anything is read. It may
	// send, Connect, Join and Close.
	Started(c *Conn)

	// Received is called for each datagram, in the order of arrival. d.Data is
	// valid until Received returns, unless [Datagram.Retain] was called. While
	// Received runs nothing else is read from the socket: what takes long belongs
	// into a [Queue] or into [Workers].
	Received(c *Conn, d Datagram)

	// Refused is called once for each ICMP message that says that a datagram sent
	// earlier was not delivered: on connected sockets, and with
	// [Config.PeerErrors] on others. It says nothing about datagrams sent later.
	// r is the Handler's to keep.
	//
	// Messages wait while a callback runs: those that a send has met (as every one
	// is that this host itself refuses) until they take 16 MiB, after which
	// they are counted in [Stats]; the others in the socket's receive buffer beside
	// its datagrams, and Linux drops, without counting, those for which there is no
	// room. A train of datagrams (see [Config.NoOffload]) that this host refuses
	// is refused with one message.
	//
	// ICMP is not authenticated: anybody may have sent it.
	Refused(c *Conn, r *Refusal)

	// Stopped is called once, last, when the socket is closed: err is nil after
	// Close or Shutdown, and otherwise says what closed it.
	Stopped(c *Conn, err error)
}

// HandlerFunc is a function that is called for each datagram, as a [Handler]
// that does nothing else.
type HandlerFunc func(c *Conn, d Datagram)

// Started implements [Handler]; it does nothing.
func (f HandlerFunc) Started(*Conn) {}

// Received implements [Handler]; it calls f.
func (f HandlerFunc) Received(c *Conn, d Datagram) { f(c, d) }

// Refused implements [Handler]; it does nothing.
func (f HandlerFunc) Refused(*Conn, *Refusal) {}

// Stopped implements [Handler]; it does nothing.
func (f HandlerFunc) Stopped(*Conn, error) {}

// BaseHandler is a [Handler] that does nothing. A type that embeds it need only
// write the methods it wants.
type BaseHandler struct{}

// Started implements [Handler]; it does nothing.
func (BaseHandler) Started(*Conn) {}

// Received implements [Handler]; it does nothing.
func (BaseHandler) Received(*Conn, Datagram) {}

// Refused implements [Handler]; it does nothing.
func (BaseHandler) Refused(*Conn, *Refusal) {}

// Stopped implements [Handler]; it does nothing.
func (BaseHandler) Stopped(*Conn, error) {}
