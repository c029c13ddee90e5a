// Package packetconn is how a udp.PacketConn reads and writes, without the errors of
// package net around it: callers pull datagrams out of a batch that one system call has
// read, and addresses and control messages have the forms that package net and
// golang.org/x/net give them.
//
// # Locking
//
// Conn.pulling is held while the socket is read, which waits. Conn.reading guards the batch
// and is taken after it. It is held from Next to Done. Conn.setting guards nothing that they do.
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

	// Drop counts a datagram that no caller gets.
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

	shared  atomic.Bool // others may have a descriptor of the socket
	single  atomic.Bool // the kernel coalesces nothing: UDP_GRO is off
	setting sync.Mutex  // held while the read deadline and the socket's are set

	pulling send.Turn // held while the socket is read, which waits

	left    atomic.Bool     // packets may have another datagram; written with reading locked
	reading sync.Mutex      // guards what follows
	packets []socket.Packet // what the last read has brought; nil: nothing is left
	at, off int             // where the next datagram is: its packet, its offset
	addrs   []Addr          // not used yet
}

// Init makes c ready for use.
func (c *Conn) Init(cfg Config) {
	c.Config, c.created, c.ipv4 = cfg, time.Now(), cfg.Out.Family == socket.IPv4
}

// SetReadDeadline makes reads fail from t on, also when they need not wait. The socket's own
// deadline ends those that wait.
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
