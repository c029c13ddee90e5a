package group_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// within is how long an event may take on a busy machine.
const within = time.Minute

// Requests are the number of the request. A reply repeats it and adds the number of the
// member.
const (
	requestSize = 8
	replySize   = requestSize + 1
)

// member returns the Handler of member i: it replies.
func member(i int) udp.Handler {
	return udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		reply := append(d.Data[:len(d.Data):len(d.Data)], byte(i))
		_ = d.Reply(reply)
	})
}

// clients are the peers of a group, a flow each.
type clients struct {
	t       *testing.T
	to      netip.AddrPort
	conns   []*net.UDPConn
	members []atomic.Int32 // by flow: the one that replied last, -1: none yet
	reading sync.WaitGroup

	sent  int          // requests; used by one goroutine at a time
	moves atomic.Int64 // replies by another member than the one before

	mu       sync.Mutex // guards replies
	replies  int
	progress sync.Cond // there was a reply, or time is up
}

func newClients(t *testing.T, n int, to netip.AddrPort) *clients {
	c := &clients{t: t, to: to, members: make([]atomic.Int32, n)}
	c.progress.L = &c.mu
	t.Cleanup(c.close)
	for i := range n {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.Addr(), 0)))
		require.NoError(t, err)
		c.conns = append(c.conns, conn)
		c.members[i].Store(-1)
		c.reading.Go(func() { c.read(conn, i) })
	}
	return c
}

func (c *clients) close() {
	for _, conn := range c.conns {
		conn.Close()
	}
	c.reading.Wait()
}

func (c *clients) read(conn *net.UDPConn, flow int) {
	b := make([]byte, 64)
	for {
		n, _, err := conn.ReadFromUDPAddrPort(b)
		switch {
		case err != nil:
			return
		case n != replySize:
			c.t.Errorf("a reply of %d bytes", n)
			return
		}
		by := int32(b[requestSize])
		if old := c.members[flow].Swap(by); old >= 0 && old != by {
			c.moves.Add(1)
		}
		c.mu.Lock()
		c.replies++
		c.mu.Unlock()
		c.progress.Broadcast()
	}
}

// window bounds the requests without a reply, so that no buffer is ever full, however slow the
// machine is. A request that is lost occupies its place for ever.
const window = 100

// send sends one request of a flow.
func (c *clients) send(flow int) {
	c.await(c.sent - window + 1)
	b := binary.BigEndian.AppendUint64(nil, uint64(c.sent))
	_, err := c.conns[flow].WriteToUDPAddrPort(b, c.to)
	require.NoError(c.t, err)
	c.sent++
}

// await waits for so many replies.
func (c *clients) await(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.replies >= n {
		return
	}
	late := false
	defer time.AfterFunc(within, func() {
		c.mu.Lock()
		late = true
		c.mu.Unlock()
		c.progress.Broadcast()
	}).Stop()
	for c.replies < n && !late {
		c.progress.Wait()
	}
	if c.replies < n {
		require.FailNow(c.t, "requests are lost", "%d replies of %d", c.replies, n)
	}
}

// replied returns how many replies there were.
func (c *clients) replied() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.replies
}

// round sends one request of each flow, waits for all replies, and returns the member
// that has replied to each.
func (c *clients) round() []int {
	for flow := range c.conns {
		c.send(flow)
	}
	c.await(c.sent)
	by := make([]int, len(c.conns))
	for flow := range by {
		by[flow] = int(c.members[flow].Load())
	}
	return by
}

// steadily sends perSecond requests a second, of the flows in turn, until stop is called. stop
// returns when every request has its reply. The window may make it slower; the log has the actual
// rate.
func (c *clients) steadily(perSecond int) (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		sent := 0
		began := time.Now()
		for {
			select {
			case <-ctx.Done():
				c.t.Logf("%d requests, %.0f per second", sent, float64(sent)/time.Since(began).Seconds())
				c.await(c.sent)
				return
			case <-tick.C:
			}
			for due := int(time.Since(began).Seconds() * float64(perSecond)); sent < due && ctx.Err() == nil; sent++ {
				c.send(sent % len(c.conns))
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// more waits for so many more replies.
func (c *clients) more(n int) { c.await(c.replied() + n) }
