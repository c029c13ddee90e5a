package main

import "github.com/udpkit/udp"

// The two calls with which the programs use package udp's channel and its outbox, here so that
// every row uses the same.

// enqueue sends m on c, which need not be the socket whose callback runs.
func enqueue(c *udp.Conn, m udp.Message) error { return c.Enqueue(m) }

// consume calls f for each datagram of q until q ends.
func consume(q *udp.Queue, f func(udp.Datagram)) {
	for d := range q.Datagrams() {
		f(d)
		d.Release()
	}
}
