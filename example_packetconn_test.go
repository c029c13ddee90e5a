package udp_test

import (
	"context"
	"fmt"
	"net"

	"github.com/udpkit/udp"
)

// A library that expects a net.PacketConn gets one.
func ExampleConfig_ListenPacket() {
	serve := func(c net.PacketConn) { // of the library
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(b[:n], from)
		}
	}
	ctx := context.Background()
	server, err := udp.Config{}.ListenPacket(ctx, "udp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer server.Close()
	go serve(server)

	client, err := udp.Config{}.DialContext(ctx, "udp", server.LocalAddr().String())
	if err != nil {
		panic(err)
	}
	defer client.Close()
	fmt.Fprint(client, "hello")
	b := make([]byte, 1500)
	n, err := client.Read(b)
	fmt.Println(string(b[:n]), err)
	// Output: hello <nil>
}

// DialContext fits wherever a program can be given a function that dials. Names that
// this Resolver looks up are asked over sockets of this package.
func ExampleConfig_DialContext() {
	dial := udp.Config{}.DialContext
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if network != "udp" { // TCP, after a response that was too long
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		return dial(ctx, network, address)
	}}
	_, _ = r.LookupHost(context.Background(), "localhost")
}

// Receive copies nothing, and takes what a read of the kernel has brought.
func ExamplePacketConn_Receive() {
	ctx := context.Background()
	c, err := udp.Config{}.ListenPacket(ctx, "udp4", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer c.Close()
	if _, err := c.WriteTo([]byte("hello"), c.LocalAddr()); err != nil {
		panic(err)
	}
	ds := make([]udp.Datagram, 64)
	n, err := c.Receive(ds)
	if err != nil {
		panic(err)
	}
	for _, d := range ds[:n] {
		fmt.Printf("%s to %v\n", d.Data, d.To().Addr())
		d.Release()
	}
	// Output: hello to 127.0.0.1
}

// A socket that was opened elsewhere, as by a supervisor, becomes a PacketConn.
func ExampleConfig_AdoptPacket() {
	uc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		panic(err)
	}
	c, err := udp.Config{}.AdoptPacket(uc)
	if err != nil {
		panic(err)
	}
	defer c.Close()
	fmt.Println(c.LocalAddr().Network(), c.RemoteAddr())
	// Output: udp <nil>
}
