package main

import (
	"context"
	"net"
	"time"

	"github.com/udpkit/udp"
)

// receivePackets reads a net.PacketConn with ReadFrom, as most libraries do.
func receivePackets(ctx context.Context, a args, ready func(int), c net.PacketConn, coalesced bool) (result, error) {
	defer c.Close()
	ck := newCheck(a)
	b := make([]byte, 65536)
	context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	ready(c.LocalAddr().(*net.UDPAddr).Port)
	for {
		n, _, err := c.ReadFrom(b)
		if err != nil {
			return sum(coalesced, ck), unlessDone(ctx, err)
		}
		ck.one(b[:n])
	}
}

func receiveNetReadFrom(ctx context.Context, a args, ready func(int)) (result, error) {
	uc, _, err := listenNet(a)
	if err != nil {
		return result{}, err
	}
	return receivePackets(ctx, a, ready, uc, false)
}

func receivePacketConn(ctx context.Context, a args, ready func(int)) (result, error) {
	c, err := config(a).ListenPacket(ctx, "udp4", localhost)
	if err != nil {
		return result{}, err
	}
	return receivePackets(ctx, a, ready, c, c.Info().GRO)
}

// receiveDatagrams reads without copying.
func receiveDatagrams(ctx context.Context, a args, ready func(int)) (result, error) {
	c, err := config(a).ListenPacket(ctx, "udp4", localhost)
	if err != nil {
		return result{}, err
	}
	defer c.Close()
	ck := newCheck(a)
	ds := make([]udp.Datagram, 64)
	context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	ready(c.LocalAddr().(*net.UDPAddr).Port)
	for {
		n, err := c.Receive(ds)
		if err != nil {
			return sum(c.Info().GRO, ck), unlessDone(ctx, err)
		}
		for _, d := range ds[:n] {
			ck.one(d.Data)
			d.Release()
		}
	}
}

// echoPacketConn is echoNet on a PacketConn.
func echoPacketConn(ctx context.Context, a args, ready func(int)) (result, error) {
	c, err := config(a).ListenPacket(ctx, "udp4", localhost)
	if err != nil {
		return result{}, err
	}
	defer c.Close()
	b := make([]byte, 65536)
	context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	r := result{Coalesced: c.Info().GRO}
	ready(c.LocalAddr().(*net.UDPAddr).Port)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return r, unlessDone(ctx, err)
		}
		a.work(b)
		_, err = c.WriteToUDPAddrPort(b[:n], from)
		r.forward(err)
	}
}
