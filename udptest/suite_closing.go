package udptest

import (
	"context"
	"errors"
	"net"

	"github.com/udpkit/udp"
)

var closingPromises = []promise{
	{"Close works from inside Started", func(t *trial) {
		w := t.witness()
		w.then = func(c *udp.Conn, e event) {
			if e.kind == "Started" {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
		}
		c := t.listen(w)
		<-c.Done()
		w.next("Started")
		equal(t, "error", w.next("Stopped").err, nil)
		t.is(c.SendTo(nil, t.at(c)), net.ErrClosed)
	}},
	{"Close works from inside Received", func(t *trial) {
		w := t.witness()
		w.then = func(c *udp.Conn, e event) {
			if e.text == "2" {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
		}
		c, a := t.listen(w), t.open(udp.BaseHandler{})
		t.send(a, t.at(c), numbered(10)...)
		<-c.Done()
		w.receives("0", "1", "2")
		w.next("Stopped")
		s := c.Stats()
		equal(t, "received", s.Received, s.Handled+s.Dropped.Total())
		equal(t, "handled", s.Handled, 3)
	}},
	{"Close works from inside Refused", func(t *trial) {
		w := t.witness()
		w.then = func(c *udp.Conn, e event) {
			if e.kind == "Refused" {
				c.Close()
			}
		}
		cc := t.dialTo(t.closedPort(), w)
		t.ok(cc.Send(nil))
		<-cc.Done()
		w.next("Refused")
		w.next("Stopped")
	}},
	{"Close from elsewhere returns after the last callback", func(t *trial) {
		w := t.witness()
		w.gate = make(chan struct{})
		c, a := t.listen(w), t.open(udp.BaseHandler{})
		t.send(a, t.at(c), "held up", "never handled")
		w.receives("held up")
		closed := make(chan struct{})
		go func() {
			c.Close()
			close(closed)
		}()
		select {
		case <-closed:
			t.Fatal("Close returned while a callback ran")
		case <-c.Done():
			t.Fatal("done while a callback ran")
		default:
		}
		close(w.gate)
		<-closed
		// The second may have been handled just before Close.
		for e := range w.events {
			if e.kind == "Stopped" {
				break
			}
		}
		s := c.Stats()
		equal(t, "received", s.Received, s.Handled+s.Dropped.Total())
	}},
	{"Shutdown handles what is queued, and then closes", func(t *trial) {
		w := t.witness()
		w.gate = make(chan struct{})
		c, a := t.listen(w), t.open(udp.BaseHandler{})
		t.send(a, t.at(c), "first")
		w.receives("first")
		t.send(a, t.at(c), numbered(50)...)
		t.settle()
		result := make(chan error, 1)
		go func() { result <- c.Shutdown(context.Background()) }()
		close(w.gate)
		t.ok(<-result)
		w.receives(numbered(50)...)
		equal(t, "error", w.next("Stopped").err, nil)
		s := c.Stats()
		equal(t, "handled", s.Handled, 51)
		equal(t, "dropped", s.Dropped.Total(), 0)
		t.is(c.SendTo(nil, t.at(c)), net.ErrClosed)
	}},
	{"Shutdown works from inside a callback", func(t *trial) {
		w := t.witness()
		w.then = func(c *udp.Conn, e event) {
			if e.text == "bye" {
				if err := c.Shutdown(context.Background()); err != nil {
					t.Error(err)
				}
			}
		}
		c, a := t.listen(w), t.open(udp.BaseHandler{})
		t.send(a, t.at(c), "bye")
		<-c.Done()
		w.receives("bye")
		w.next("Stopped")
	}},
	{"Shutdown that runs out of time returns the error of its context", func(t *trial) {
		w := t.witness()
		w.gate = make(chan struct{})
		c, a := t.listen(w), t.open(udp.BaseHandler{})
		t.send(a, t.at(c), "held up")
		w.receives("held up")
		t.send(a, t.at(c), numbered(3)...)
		t.settle()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		err := c.Shutdown(ctx)
		t.is(err, context.Canceled)
		close(w.gate)
		<-c.Done()
		w.next("Stopped")
		s := c.Stats()
		equal(t, "received", s.Received, s.Handled+s.Dropped.Total())
		equal(t, "handled", s.Handled, 1)
	}},
	{"Close works from inside Stopped", func(t *trial) {
		w := t.witness()
		closed := make(chan error, 1)
		w.then = func(c *udp.Conn, e event) {
			if e.kind == "Stopped" {
				closed <- c.Close()
			}
		}
		c := t.listen(w)
		t.ok(c.Close())
		t.ok(<-closed)
		<-c.Done()
		w.next("Stopped")
		w.quiet()
	}},
	{"Closes at the same time all return after Stopped", func(t *trial) {
		w := t.witness()
		c := t.listen(w)
		results := make(chan error)
		for range 10 {
			go func() {
				err := c.Close()
				w.mu.Lock()
				defer w.mu.Unlock()
				if w.stopped != 1 && err == nil {
					err = errors.New("Close returned before Stopped")
				}
				results <- err
			}()
		}
		for range 10 {
			t.ok(<-results)
		}
	}},
	{"Shutdown works from inside Started", func(t *trial) {
		w := t.witness()
		w.then = func(c *udp.Conn, e event) {
			if e.kind == "Started" {
				if err := c.Shutdown(context.Background()); err != nil {
					t.Error(err)
				}
			}
		}
		c := t.listen(w)
		<-c.Done()
		equal(t, "error", w.next("Stopped").err, nil)
		w.quiet()
	}},
	{"Shutdown works from inside Refused", func(t *trial) {
		w := t.witness()
		w.then = func(c *udp.Conn, e event) {
			if e.kind == "Refused" {
				if err := c.Shutdown(context.Background()); err != nil {
					t.Error(err)
				}
			}
		}
		cc := t.dialTo(t.closedPort(), w)
		t.ok(cc.Send(nil))
		<-cc.Done()
		w.next("Refused")
		equal(t, "error", w.next("Stopped").err, nil)
	}},
}
