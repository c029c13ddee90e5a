package conformance

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/udpkit/udp"
)

// closesIn returns a promise that Close, called in the first callback of a kind, lets that
// callback finish and makes Stopped the next one.
func closesIn(kind string) func(t *trial) {
	return func(t *trial) {
		w, dead := t.witness(), t.closedPort()
		closed := false
		w.then = func(c *udp.Conn, e event) {
			if e.kind != kind || closed {
				return
			}
			closed = true
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if err := c.SendTo(nil, dead); !errors.Is(err, net.ErrClosed) {
				t.Errorf("SendTo after Close: %v", err)
			}
		}
		var c *udp.Conn
		if kind == "Refused" {
			cc := t.dialTo(dead, w)
			t.ok(cc.Send(nil))
			c = cc.Conn
		} else {
			c = t.open(w)
		}
		<-c.Done()
		if kind == "Refused" {
			w.next(kind)
		}
		equal(t, "error", w.next("Stopped").err, nil)
		w.quiet()
		t.is(c.SendTo(nil, dead), net.ErrClosed)
	}
}

var closingPromises = []promise{
	{"Close works in Started", closesIn("Started")},
	{"Close works in Refused", closesIn("Refused")},
	{"Close works in Received, and nothing more is received", func(t *trial) {
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
		t.handled(c, 3)
	}},
	{"Close works in Stopped", func(t *trial) {
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
	{"Close returns while a callback runs, which is the last before Stopped", func(t *trial) {
		w := t.witness()
		w.gate = make(chan struct{})
		c, a := t.listen(w), t.open(udp.BaseHandler{})
		t.send(a, t.at(c), "running", "never handled")
		w.receives("running")
		t.ok(c.Close())
		<-c.Closing()
		t.is(c.SendTo(nil, t.at(a)), net.ErrClosed)
		select {
		case <-c.Done():
			t.Fatal("done while a callback ran")
		default:
		}
		close(w.gate)
		<-c.Done()
		w.next("Stopped")
		t.handled(c, 1)
	}},
	{"Close works with a lock that a callback needs", func(t *trial) {
		var mu sync.Mutex
		w := t.witness()
		w.then = func(*udp.Conn, event) {
			mu.Lock()
			defer mu.Unlock()
		}
		c, a := t.listen(w), t.open(udp.BaseHandler{})
		mu.Lock()
		t.send(a, t.at(c), "blocked")
		w.receives("blocked")
		t.ok(c.Close())
		mu.Unlock()
		<-c.Done()
		w.next("Stopped")
	}},
	{"Closes at the same time return nil, and Stopped is called once", func(t *trial) {
		w := t.witness()
		c := t.listen(w)
		results := make(chan error)
		for range 10 {
			go func() { results <- c.Close() }()
		}
		for range 10 {
			t.ok(<-results)
		}
		<-c.Done()
		equal(t, "error", w.next("Stopped").err, nil)
		w.quiet()
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
	{"a callback starts Shutdown with go", func(t *trial) {
		w := t.witness()
		result := make(chan error, 1)
		w.then = func(c *udp.Conn, e event) {
			if e.text == "bye" {
				go func() { result <- c.Shutdown(context.Background()) }()
			}
		}
		c, a := t.listen(w), t.open(udp.BaseHandler{})
		t.send(a, t.at(c), "bye")
		t.ok(<-result)
		w.receives("bye")
		equal(t, "error", w.next("Stopped").err, nil)
	}},
	{"Shutdown whose context ends closes and returns the context's error", func(t *trial) {
		w := t.witness()
		w.gate = make(chan struct{})
		c, a := t.listen(w), t.open(udp.BaseHandler{})
		t.send(a, t.at(c), "running")
		w.receives("running")
		t.send(a, t.at(c), numbered(3)...)
		t.settle()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		t.is(c.Shutdown(ctx), context.Canceled)
		close(w.gate)
		<-c.Done()
		w.next("Stopped")
		t.handled(c, 1)
	}},
	{"Run shuts down when its context ends, and returns nil after Close", func(t *trial) {
		w := t.witness()
		c := t.listen(w)
		ctx, cancel := context.WithCancel(context.Background())
		result := make(chan error, 1)
		go func() { result <- c.Run(ctx, time.Minute) }()
		t.send(t.open(udp.BaseHandler{}), t.at(c), "served")
		w.receives("served")
		cancel()
		t.ok(<-result)
		equal(t, "error", w.next("Stopped").err, nil)
		c = t.listen(udp.BaseHandler{})
		go func() { result <- c.Run(context.Background(), 0) }()
		t.ok(c.Close())
		t.ok(<-result)
	}},
}
