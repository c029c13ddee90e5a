package udptest_test

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

func ExampleRecorder() {
	r := udptest.NewRecorder(nil)
	defer r.Start(udp.HandlerFunc(greet)).Close()
	anne := netip.MustParseAddrPort("198.51.100.7:4000")
	r.Receive(udp.Datagram{From: anne, Data: []byte("Anne")})
	m := r.Sent()[0]
	fmt.Printf("%q to %v from %v", m.Data, m.To, m.From)
	// Output: "hello Anne" to 198.51.100.7:4000 from 192.0.2.1
}

// fromLink reports whether a datagram was sent on this link: a router would have decremented its
// TTL (RFC 5082).
func fromLink(d udp.Datagram) bool { return d.TTL() == 255 }

func ExampleDatagram() {
	anne := netip.MustParseAddrPort("198.51.100.7:4000")
	near := udptest.Datagram(udptest.Header{From: anne, TTL: 255}, []byte("hello"))
	far := udptest.Datagram(udptest.Header{From: anne, TTL: 254}, []byte("hello"))
	fmt.Println(fromLink(near), fromLink(far))
	// Output: true false
}

// pinger records an ICMP error.
type pinger struct {
	udp.BaseHandler
	gone error
}

func (p *pinger) Refused(_ *udp.Conn, r *udp.Refusal) { p.gone = r }

func ExampleRecorder_Refuse() {
	r, p := udptest.NewRecorder(nil), new(pinger)
	defer r.Dial("198.51.100.7:7", p).Close()
	r.Refuse(&udp.Refusal{Type: 3, Code: 1}) // host unreachable
	fmt.Println(errors.Is(p.gone, syscall.EHOSTUNREACH))
	// Output: true
}

func ExampleNet_String() {
	n := udptest.NewNet(nil, udptest.Config{})
	a := n.Host("a", "10.0.0.1/24")
	n.Host("b", "10.0.0.2/24", "fd00::2/64")
	a.Out().Set(udptest.Faults{Loss: 0.1, Latency: 30 * time.Millisecond})
	fmt.Print(n)
	// Output:
	// lan
	// ├─ a eth0 10.0.0.1/24
	// │     eth0 out: loss 10%, latency 30ms
	// └─ b eth0 10.0.0.2/24 fd00::2/64
}
