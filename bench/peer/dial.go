package main

import (
	"context"
	"net"
	"time"

	"github.com/udpkit/udp"
)

// dialling opens and closes connected sockets, one at a time, until the time is up.
func dialling(a args, one func(address string) error) (result, error) {
	peer, _, err := listenNet(a)
	if err != nil {
		return result{}, err
	}
	defer peer.Close()
	address := peer.LocalAddr().String()
	var r result
	before, start := cpu(), time.Now()
	end := start
	for until := start.Add(time.Duration(a.seconds * float64(time.Second))); end.Before(until); end = time.Now() {
		if err := one(address); err != nil {
			return r, err
		}
		r.Sent++
	}
	r.Received, r.Counted, r.Seconds = r.Sent, r.Sent, end.Sub(start).Seconds()
	r.CPU = cpu() - before
	return r, nil
}

// dialUDP waits for Done, which is closed after the last callback.
func dialUDP(ctx context.Context, a args, _ func(int)) (result, error) {
	return dialling(a, func(address string) error {
		c, err := udp.Dial(ctx, "udp4", address, udp.BaseHandler{})
		if err != nil {
			return err
		}
		err = c.Close()
		<-c.Done()
		return err
	})
}

// dialUDPBeside does the same while another socket is open, because the first and the last socket
// with UDP_GRO switch a static key in the kernel.
func dialUDPBeside(ctx context.Context, a args, ready func(int)) (result, error) {
	c, err := udp.Listen(ctx, "udp4", localhost, udp.BaseHandler{})
	if err != nil {
		return result{}, err
	}
	defer c.Close()
	return dialUDP(ctx, a, ready)
}

func dialNet(_ context.Context, a args, _ func(int)) (result, error) {
	return dialling(a, func(address string) error {
		c, err := net.Dial("udp4", address)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// dialNetReader starts a goroutine that reads, as package udp does, and waits for its end.
func dialNetReader(_ context.Context, a args, _ func(int)) (result, error) {
	return dialling(a, func(address string) error {
		c, err := net.Dial("udp4", address)
		if err != nil {
			return err
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			b := make([]byte, 2048)
			for {
				if _, err := c.Read(b); err != nil {
					return
				}
			}
		}()
		err = c.Close()
		<-done
		return err
	})
}
