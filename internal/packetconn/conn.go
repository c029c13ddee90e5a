// Package packetconn reads and writes for a udp.PacketConn. Callers take datagrams from a
// batch that one system call has read. Addresses and control messages have the forms of
// package net and golang.org/x/net. The caller wraps errors.
//
// # Locking
//
// Conn.pulling is held while the socket is read, which may wait. Conn.reading guards the
// batch, is taken after pulling, and is held from Next to Done. Conn.setting is independent
// of both.
package packetconn

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/udpkit/udp/internal/send"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/stats"
)

// Config is what a Conn needs of its user. All of it must be set.
type Config struct {
	Socket      socket.Pulled
	Out         *send.Outbox  // sends on the socket
	Puller      socket.Puller // reads it
	Sources     *Sources      // nil unless the socket is bound to every address
	MaxDatagram int           // longer datagrams are dropped
	Connected   bool          // the socket has a peer
	Classes     bool          // the traffic class is known

	// Drop counts a datagram that is not returned to a caller.
	Drop func(p *socket.Packet, data []byte, why stats.Reason)
	// Refused counts an ICMP error and returns it as an error.
	Refused func(socket.Report) error
}

// A Conn reads and writes one socket. Any goroutine may use it, after Init.
type Conn struct {
	Config
	ipv4     bool         // addresses have 4 bytes
	created  time.Time    // deadline counts from here
	deadline atomic.Int64 // of reads, nanoseconds, 0: none

	shared  atomic.Bool // there may be other descriptors of the socket
	single  atomic.Bool // the kernel coalesces nothing: UDP_GRO is off
	setting sync.Mutex  // held while the read deadline and the socket's are set

	pulling send.Turn // held while the socket is read, which may wait

	left    atomic.Bool     // packets may have another datagram; written with reading locked
	reading sync.Mutex      // guards what follows
	packets []socket.Packet // of the last read; nil: none remain
	at, off int             // position of the next datagram: index of its packet, offset
	addrs   []Addr          // not used yet
}

// Init makes c ready for use.
func (c *Conn) Init(cfg Config) {
	c.Config, c.created, c.ipv4 = cfg, time.Now(), cfg.Out.Family == socket.IPv4
}

// SetReadDeadline makes reads fail from t on, even if they need not wait. The socket's own
// deadline interrupts those that wait.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.setting.Lock()
	defer c.setting.Unlock()
	var after time.Duration
	if !t.IsZero() {
		if after = t.Sub(c.created); after == 0 {
			after = 1
		}
	}
	c.deadline.Store(int64(after))
	return c.Socket.SetReadDeadline(t)
}
