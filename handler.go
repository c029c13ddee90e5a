package udp

import (
	"fmt"
	"net"
	"os"
	"reflect"

	"github.com/udpkit/udp/internal/life"
)

// A Handler has the callbacks of a socket. The four methods are never called at the
// same time for one socket. A Handler may serve several sockets. Calls for different
// sockets do run at the same time.
//
// A panic in any of them is recovered, counted in [Stats], and logged with its stack
// to [Config.Logger], or to [slog.Default] if that is nil. The socket continues to
// work.
//
// A Handler may also have a method ReadDone(c *Conn). It is called after each read,
// when Received has returned for all its datagrams, for work that is done once for
// several datagrams. The Handler behind [Workers] does not get this call.
type Handler interface {
	// Started is called once, before anything is read. It runs on the goroutine that
	// called Listen, Dial or ListenMulticast, before that function returns. It may
	// send, Connect, Join and Close.
	Started(c *Conn)

	// Received is called for each datagram, in the order of arrival. d.Data is valid
	// until Received returns, unless [Datagram.Retain] was called. While Received
	// runs, nothing else is read from the socket. For work that takes long, use a
	// [Queue] or [Workers].
	Received(c *Conn, d Datagram)

	// Refused is called once for each ICMP error about a datagram sent earlier, on
	// connected sockets, and with [Config.PeerErrors] on others. Datagrams sent later
	// are not affected. The Handler may keep r.
	//
	// ICMP errors wait while a callback runs. On Linux they wait in the socket's
	// receive buffer, beside its datagrams. Linux drops those for which there is no
	// room, and does not count them. A send takes the waiting errors out of that
	// buffer and keeps up to 16 MiB of them; [Stats.RefusalsLost] counts the others.
	// So no error of this host itself is dropped uncounted. For a segmented send (see
	// [Config.NoOffload]) this host reports only one error.
	//
	// ICMP is not authenticated: anybody can forge r.
	Refused(c *Conn, r *Refusal)

	// Stopped is called once, after all others, when the socket is closed. err is nil
	// after Close or Shutdown; otherwise it is the error that stopped the socket.
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

// BaseHandler is a [Handler] that does nothing. Embed it in a type that needs only
// some of the methods.
type BaseHandler struct{}

// Started implements [Handler]; it does nothing.
func (BaseHandler) Started(*Conn) {}

// Received implements [Handler]; it does nothing.
func (BaseHandler) Received(*Conn, Datagram) {}

// Refused implements [Handler]; it does nothing.
func (BaseHandler) Refused(*Conn, *Refusal) {}

// Stopped implements [Handler]; it does nothing.
func (BaseHandler) Stopped(*Conn, error) {}

// consumer is the Handler of a socket by its kind, so that the reader need not look
// each time.
type consumer struct {
	handler  Handler
	function HandlerFunc // at most one of these, by the type of the handler
	queue    *Queue
	workers  *Workers
	readDone interface{ ReadDone(*Conn) } // if the handler has that method
	work     life.Work                    // what the socket has in Workers, its own or others
}

func (t *consumer) init(h Handler) {
	t.handler = h
	switch h := h.(type) {
	case HandlerFunc:
		t.function = h
	case *Queue:
		t.queue = h
	case *Workers:
		t.workers = h
	default:
		t.readDone, _ = h.(interface{ ReadDone(*Conn) })
	}
}

// called returns the name of the user's function that may panic in a method of the
// Handler. Of Workers the reader calls only their Key.
func (t *consumer) called(method string) string {
	if t.workers != nil {
		return "WorkersConfig.Key"
	}
	return method
}

// hasQueued reports whether datagrams wait for a consumer.
func (t *consumer) hasQueued() bool {
	switch {
	case t.queue != nil:
		return len(t.queue.fifo.C) > 0
	case t.workers != nil:
		return t.work.Left() > 1 // one of them may be the caller's
	}
	return false
}

// checkHandler finds Handlers that a socket cannot use.
func checkHandler(h Handler) error {
	if isNil(h) {
		return fmt.Errorf("the Handler is nil: %w", os.ErrInvalid)
	}
	switch h := h.(type) {
	case *Workers:
		if h.handlers == nil {
			return fmt.Errorf("workers must be created by NewWorkers: %w", os.ErrInvalid)
		}
	case *Queue:
		if h.done == nil {
			return errZeroQueue
		}
		if h.finished() {
			return fmt.Errorf("the last socket of the queue has stopped, use a new queue: %w", net.ErrClosed)
		}
	}
	return nil
}

// isNil reports whether h is nil, or a nil pointer or function.
func isNil(h Handler) bool {
	if h == nil {
		return true
	}
	v := reflect.ValueOf(h)
	return (v.Kind() == reflect.Pointer || v.Kind() == reflect.Func) && v.IsNil()
}
