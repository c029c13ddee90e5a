package udp

// A Handler has the callbacks of a socket. The four methods are never called at the
// same time for one socket. A Handler may serve several sockets. Calls for different
// sockets do run at the same time.
//
// A panic in any of them is recovered, counted in [Stats], and logged with its stack to
// [Config.Logger], or to [slog.Default] if that is nil. The socket goes on.
type Handler interface {
	// Started is called once, before anything is read. It runs on the goroutine that
	// called Listen, Dial or ListenMulticast, before that function returns. It may
	// send, Connect, Join and Close.
	Started(c *Conn)

	// Received is called for each datagram, in the order of arrival. d.Data is valid
	// until Received returns, unless [Datagram.Retain] was called. While Received runs,
	// nothing else is read from the socket. Use a [Queue] or [Workers] for what takes
	// long.
	Received(c *Conn, d Datagram)

	// Refused is called once for each ICMP error about a datagram sent earlier, on
	// connected sockets, and with [Config.PeerErrors] on others. It says nothing about
	// datagrams sent later. The Handler may keep r.
	//
	// ICMP errors wait while a callback runs. Those that a send has met wait until they
	// take 16 MiB; further ones are only counted, in [Stats]. A send meets every error
	// that comes from this host itself. All other errors wait in the socket's receive
	// buffer, beside its datagrams. Linux drops those for which there is no room, and
	// does not count them. A segmented send (see [Config.NoOffload]) that this host
	// refuses causes only one error.
	//
	// ICMP is not authenticated: anybody may have sent it.
	Refused(c *Conn, r *Refusal)

	// Stopped is called once, after all others, when the socket is closed. err is nil
	// after Close or Shutdown; otherwise it says what stopped the socket.
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
