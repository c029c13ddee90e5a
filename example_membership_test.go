package udp_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// These examples run on a simulated network, so that they have interfaces to
// show. On a real one leave Config.Network out.

// A membership reports whether it is joined on each interface, and follows the interfaces.
func ExampleMulticastConn_Memberships() {
	network := udptest.NewNet(nil, udptest.Config{})
	host := network.Segment("lan").Host("here", "192.0.2.1/24")
	host.Attach(network.Segment("wifi"), "wlan0", "198.51.100.1/24")

	group := netip.MustParseAddr("239.255.0.7")
	m, err := udp.Config{Network: host.Network()}.ListenMulticast(context.Background(), "udp4", ":9999", udp.BaseHandler{}, group)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	wlan0 := host.Interface("wlan0").NetInterface()
	if err := m.Leave(group, wlan0); err != nil { // on the others it stays
		log.Fatal(err)
	}
	for _, membership := range m.Memberships() {
		fmt.Println(membership.Group, "held:", membership.Held())
		for _, on := range membership.On {
			fmt.Println("-", on.Name, on.Err)
		}
	}
	// Output:
	// 239.255.0.7 held: true
	// - eth0 <nil>
}

// Only the interfaces that the filter lets through, and a word about every change.
func ExampleConfig_ListenMulticast() {
	network := udptest.NewNet(nil, udptest.Config{})
	host := network.Segment("lan").Host("here", "192.0.2.1/24")
	host.Attach(network.Segment("wifi"), "wlan0", "198.51.100.1/24")

	changes := make(chan udp.Membership, 1)
	cfg := udp.Config{
		Network:         host.Network(),
		InterfaceFilter: func(i *net.Interface) bool { return i.Name != "wlan0" },
		OnMembership:    func(_ *udp.MulticastConn, changed udp.Membership) { changes <- changed },
	}
	m, err := cfg.ListenMulticast(context.Background(), "udp4", ":9999", udp.BaseHandler{}, netip.MustParseAddr("239.255.0.7"))
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	host.Attach(network.Segment("lab"), "eth1", "203.0.113.1/24")
	for _, on := range (<-changes).On {
		fmt.Println(on.Name)
	}
	// Output:
	// eth0
	// eth1
}

// A group without one of its senders.
func ExampleMulticastConn_BlockSource() {
	network := udptest.NewNet(nil, udptest.Config{})
	lan := network.Segment("lan")
	host, noisy, quiet := lan.Host("here", "192.0.2.1/24"), lan.Host("noisy", "192.0.2.2/24"), lan.Host("quiet", "192.0.2.3/24")

	group := netip.MustParseAddr("239.255.0.7")
	heard := udp.NewQueue(16, udp.Block)
	m, err := udp.Config{Network: host.Network()}.ListenMulticast(context.Background(), "udp4", ":9999", heard, group)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	if err := m.BlockSource(group, netip.MustParseAddr("192.0.2.2")); err != nil {
		log.Fatal(err)
	}
	fmt.Println("blocked:", m.Memberships()[0].Blocked)
	for _, sender := range []*udptest.Host{noisy, quiet} {
		c, err := udp.Config{Network: sender.Network()}.Listen(context.Background(), "udp4", ":0", udp.BaseHandler{})
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close()
		if err := c.SendTo([]byte("I am "+sender.Name()), netip.AddrPortFrom(group, 9999)); err != nil {
			log.Fatal(err)
		}
	}
	d, err := heard.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", d.Data)
	d.Release()
	err = m.UnblockSource(group, netip.MustParseAddr("192.0.2.2"))
	fmt.Println(err)
	// Output:
	// blocked: [192.0.2.2]
	// I am quiet
	// <nil>
}

// Several sources of one group, each joined and left by itself.
func ExampleMulticastConn_LeaveSource() {
	host := udptest.NewNet(nil, udptest.Config{}).Segment("lan").Host("here", "192.0.2.1/24")
	m, err := udp.Config{Network: host.Network()}.ListenMulticast(context.Background(), "udp4", ":9999", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	group := netip.MustParseAddr("232.0.0.7")
	one, two := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	if err := errors.Join(m.JoinSource(group, one), m.JoinSource(group, two)); err != nil {
		log.Fatal(err)
	}
	if err := m.LeaveSource(group, one); err != nil {
		log.Fatal(err)
	}
	for _, membership := range m.Memberships() {
		fmt.Println(membership.Group, "from", membership.Source)
	}
	// Output: 232.0.0.7 from 192.0.2.3
}

// Where datagrams to groups leave, and that this host does not hear them itself.
func ExampleMulticastConn_SetMulticastInterface() {
	network := udptest.NewNet(nil, udptest.Config{})
	host := network.Segment("lan").Host("here", "192.0.2.1/24")
	host.Attach(network.Segment("wifi"), "wlan0", "198.51.100.1/24")
	m, err := udp.Config{Network: host.Network()}.ListenMulticast(context.Background(), "udp4", ":0", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	err = errors.Join(
		m.SetMulticastInterface(host.Interface("wlan0").NetInterface()),
		m.SetMulticastLoopback(false),
		m.SetMulticastTTL(5), // beyond the local network
	)
	if err != nil {
		log.Fatal(err)
	}
	out, err := m.MulticastInterface()
	if err != nil {
		log.Fatal(err)
	}
	loopback, err := m.MulticastLoopback()
	fmt.Println(out.Name, loopback, err)
	// Output: wlan0 false <nil>
}
