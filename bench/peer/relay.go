package main

import (
	"context"

	"golang.org/x/net/ipv4"

	"github.com/udpkit/udp"
)

// The relays receive on one socket and send on another, to the sender of the
// datagram, so that one client has both ends.

// forward counts a received datagram, and whether it could be sent.
func (r *result) forward(err error) {
	r.Received++
	if err == nil {
		r.Sent++
	} else {
		r.Errors++
	}
}

// relayCallback enqueues on the other socket from the Handler of the first.
func relayCallback(ctx context.Context, a args, ready func(int)) (result, error) {
	out, err := config(a).Listen(ctx, "udp4", localhost, udp.BaseHandler{})
	if err != nil {
		return result{}, err
	}
	defer out.Close()
	var r result
	in, err := config(a).Listen(ctx, "udp4", localhost, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		r.forward(enqueue(out, udp.Message{Data: d.Data, To: d.From}))
	}))
	if err != nil {
		return r, err
	}
	ready(int(in.LocalAddrPort().Port()))
	<-ctx.Done()
	r.Coalesced = in.Info().GRO
	if err := in.Shutdown(context.Background()); err != nil {
		return r, err
	}
	err = out.Shutdown(context.Background())
	r.sentBy(out)
	return r, err
}

// relayQueue enqueues on the other socket from the consumer of a Queue.
func relayQueue(ctx context.Context, a args, ready func(int)) (result, error) {
	out, err := config(a).Listen(ctx, "udp4", localhost, udp.BaseHandler{})
	if err != nil {
		return result{}, err
	}
	defer out.Close()
	q := udp.NewQueue(channel, udp.Block)
	in, err := config(a).Listen(ctx, "udp4", localhost, q)
	if err != nil {
		return result{}, err
	}
	r := result{Coalesced: in.Info().GRO}
	ready(int(in.LocalAddrPort().Port()))
	context.AfterFunc(ctx, func() { in.Shutdown(context.Background()) })
	consume(q, func(d udp.Datagram) { r.forward(enqueue(out, udp.Message{Data: d.Data, To: d.From})) })
	err = out.Shutdown(context.Background())
	r.sentBy(out)
	return r, err
}

// sentBy takes the numbers of sent and failed datagrams from the counters of c, which has stopped.
// Only they have the errors of enqueued datagrams.
func (r *result) sentBy(c *udp.Conn) {
	s := c.Stats()
	r.Sent, r.Errors = s.Sent, max(s.SendErrors, r.Errors)
}

func relayNet(ctx context.Context, a args, ready func(int)) (result, error) {
	in, port, err := listenNet(a)
	if err != nil {
		return result{}, err
	}
	defer in.Close()
	out, _, err := listenNet(a)
	if err != nil {
		return result{}, err
	}
	defer out.Close()
	b := make([]byte, 65536)
	unblock(ctx, in)
	ready(port)
	var r result
	for {
		n, from, err := in.ReadFromUDPAddrPort(b)
		if err != nil {
			return r, unlessDone(ctx, err)
		}
		_, err = out.WriteToUDPAddrPort(b[:n], from)
		r.forward(err)
	}
}

func relayXNet(ctx context.Context, a args, ready func(int)) (result, error) {
	in, port, err := listenNet(a)
	if err != nil {
		return result{}, err
	}
	defer in.Close()
	out, _, err := listenNet(a)
	if err != nil {
		return result{}, err
	}
	defer out.Close()
	return replyBatches(ctx, a, in, ipv4.NewPacketConn(out), func() { ready(port) })
}
