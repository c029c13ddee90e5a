package conformance

import (
	"fmt"
	"sync"

	"github.com/udpkit/udp"
)

var queuePromises = []promise{
	{"a Queue delivers, and its channel closes after the socket", func(t *trial) {
		q := udp.NewQueue(10, udp.Block)
		c, a := t.listen(q), t.open(udp.BaseHandler{})
		t.send(a, t.at(c), "one")
		d := <-q.Datagrams()
		equal(t, "text", string(d.Data), "one")
		d.Release()
		t.ok(c.Close())
		if _, open := <-q.Datagrams(); open {
			t.Fatal("the channel is open")
		}
		<-q.Done()
		t.ok(q.Err())
	}},
	{"a full Queue drops the newest or the oldest, and counts it", func(t *trial) {
		for policy, want := range map[udp.Overflow][]string{udp.DropNewest: {"0", "1"}, udp.DropOldest: {"8", "9"}} {
			q := udp.NewQueue(2, policy)
			c, a := t.listen(q), t.open(udp.BaseHandler{})
			t.send(a, t.at(c), numbered(10)...)
			s := t.rest(c, func(s udp.Stats) bool { return s.Received == 10 })
			equal(t, "dropped by the Queue", s.Dropped.Queue, 8)
			equal(t, "handled", s.Handled, 2)
			for _, text := range want {
				d := <-q.Datagrams()
				equal(t, "text", string(d.Data), text)
				d.Release()
			}
		}
	}},
	{"a received datagram stays as it was without Release", func(t *trial) {
		q := udp.NewQueue(1, udp.Block)
		c, a := t.listen(q), t.open(udp.BaseHandler{})
		var kept []udp.Datagram
		for _, text := range numbered(200) {
			t.send(a, t.at(c), text)
			kept = append(kept, <-q.Datagrams())
		}
		for i, text := range numbered(200) {
			equal(t, "text", string(kept[i].Data), text)
		}
	}},
	{"one Handler serves several sockets", func(t *trial) {
		var mu sync.Mutex
		var told []string
		number := make(map[*udp.Conn]int)
		note := func(c *udp.Conn, what string) {
			mu.Lock()
			defer mu.Unlock()
			if _, known := number[c]; !known {
				number[c] = len(number)
			}
			told = append(told, fmt.Sprint(number[c], " ", what))
		}
		h := &shared{note: note, received: make(chan struct{}, 10)}
		c1, c2, a := t.listen(h), t.listen(h), t.open(udp.BaseHandler{})
		t.send(a, t.at(c2), "to the second")
		<-h.received
		t.send(a, t.at(c1), "to the first")
		<-h.received
		t.ok(c1.Close())
		<-c1.Done()
		t.send(a, t.at(c2), "again")
		<-h.received
		t.ok(c2.Close())
		<-c2.Done()
		equal(t, "what it was told", fmt.Sprintf("%q", told), fmt.Sprintf("%q", []string{
			"0 started", "1 started", "1 to the second", "0 to the first", "0 stopped", "1 again", "1 stopped",
		}))
	}},
	{"Flush sends the replies of a callback", func(t *trial) {
		release := make(chan struct{})
		c := t.listen(udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
			if err := d.Reply([]byte("at once")); err != nil {
				t.Error(err)
			}
			if err := c.Flush(); err != nil {
				t.Error(err)
			}
			<-release
		}))
		w := t.witness()
		a := t.open(w)
		t.send(a, t.at(c), "?")
		w.receives("at once") // while the callback runs
		close(release)
		t.ok(a.Flush())
	}},
	{"datagrams have a time with Timestamps", func(t *trial) {
		w := t.witness()
		c := t.listen(w, func(cfg *udp.Config) { cfg.Timestamps = true })
		if !c.Info().Timestamps {
			t.Skip("no timestamps here")
		}
		plain := t.witness()
		p, a := t.listen(plain), t.open(udp.BaseHandler{})
		t.send(a, t.at(c), "timed")
		t.send(a, t.at(p), "not timed")
		equal(t, "no time", w.next("Received").d.Time().IsZero(), false)
		equal(t, "no time", plain.next("Received").d.Time().IsZero(), true)
	}},
}

// shared is a Handler of several sockets.
type shared struct {
	udp.BaseHandler
	note     func(c *udp.Conn, what string)
	received chan struct{}
}

func (s *shared) Started(c *udp.Conn) { s.note(c, "started") }
func (s *shared) Received(c *udp.Conn, d udp.Datagram) {
	if d.Conn() == c {
		s.note(c, string(d.Data))
	}
	s.received <- struct{}{}
}
func (s *shared) Stopped(c *udp.Conn, err error) {
	if err == nil {
		s.note(c, "stopped")
	}
}
