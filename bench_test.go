package udp_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// burst is how many datagrams a run of an allocation test or a round of a
// benchmark has; the default receive buffers hold them.
const burst = 64

// gauge is a Handler that says when a burst has been received.
type gauge struct {
	udp.BaseHandler
	n    int
	full chan struct{}
}

func newGauge() *gauge { return &gauge{full: make(chan struct{}, burst)} }

func (g *gauge) Received(*udp.Conn, udp.Datagram) {
	if g.n++; g.n%burst == 0 {
		g.full <- struct{}{}
	}
}

// These show what package udp does for a datagram, each beside package net. How
// it does beside C and others, with sender and receiver on cores of their own, is
// what the module in bench measures.

var benchmarkSizes = []int{64, 1200}

func bySize(b *testing.B, f func(b *testing.B, payload []byte)) {
	for _, size := range benchmarkSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) { f(b, make([]byte, size)) })
	}
}

// rounds sends bursts; each is waited for. An operation is a burst of 64.
func rounds(b *testing.B, size int, send func() error, received <-chan struct{}) {
	b.Helper()
	b.SetBytes(int64(burst * size))
	b.ReportAllocs()
	for b.Loop() {
		if err := send(); err != nil {
			b.Fatal(err)
		}
		<-received
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/burst, "ns/datagram")
}

// BenchmarkReceive has the same sender for all, with SendBatch.
func BenchmarkReceive(b *testing.B) {
	batch := func(b *testing.B, payload []byte, to *net.UDPAddr) func() error {
		c := sockettest.Listen(b, udp.Config{}, "udp4", udp.BaseHandler{})
		ms := make([]udp.Message, burst)
		for i := range ms {
			ms[i] = udp.Message{Data: payload, To: to.AddrPort()}
		}
		return func() error {
			_, err := c.SendBatch(ms)
			return err
		}
	}
	buffers := udp.Config{ReadBuffer: 1 << 20}

	b.Run("net", func(b *testing.B) {
		bySize(b, func(b *testing.B, payload []byte) {
			uc := netListen(b)
			full := make(chan struct{}, 1)
			go func() {
				in := make([]byte, 65536)
				for n := 1; ; n++ {
					if _, _, err := uc.ReadFromUDPAddrPort(in); err != nil {
						return
					}
					if n%burst == 0 {
						full <- struct{}{}
					}
				}
			}()
			rounds(b, len(payload), batch(b, payload, uc.LocalAddr().(*net.UDPAddr)), full)
		})
	})
	b.Run("Handler", func(b *testing.B) {
		bySize(b, func(b *testing.B, payload []byte) {
			g := newGauge()
			c := sockettest.Listen(b, buffers, "udp4", g)
			rounds(b, len(payload), batch(b, payload, c.LocalAddr().(*net.UDPAddr)), g.full)
		})
	})
	b.Run("Queue", func(b *testing.B) {
		bySize(b, func(b *testing.B, payload []byte) {
			q := udp.NewQueue(2*burst, udp.Block)
			c := sockettest.Listen(b, buffers, "udp4", q)
			full := make(chan struct{}, 1)
			go func() {
				n := 0
				for d := range q.Datagrams() {
					d.Release()
					if n++; n%burst == 0 {
						full <- struct{}{}
					}
				}
			}()
			rounds(b, len(payload), batch(b, payload, c.LocalAddr().(*net.UDPAddr)), full)
		})
	})
	b.Run("net and a channel", func(b *testing.B) {
		bySize(b, func(b *testing.B, payload []byte) {
			uc := netListen(b)
			full, packets := make(chan struct{}, 1), make(chan []byte, 2*burst)
			go func() {
				defer close(packets)
				in := make([]byte, 65536)
				for {
					n, _, err := uc.ReadFrom(in)
					if err != nil {
						return
					}
					packets <- append([]byte(nil), in[:n]...)
				}
			}()
			go func() {
				n := 0
				for range packets {
					if n++; n%burst == 0 {
						full <- struct{}{}
					}
				}
			}()
			rounds(b, len(payload), batch(b, payload, uc.LocalAddr().(*net.UDPAddr)), full)
		})
	})
}

// netListen is a socket of package net that the benchmark closes.
func netListen(b *testing.B) *net.UDPConn {
	b.Helper()
	uc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { uc.Close() })
	if err := uc.SetReadBuffer(1 << 20); err != nil {
		b.Fatal(err)
	}
	return uc
}

// BenchmarkSend sends to a socket that nobody reads, so that the kernel drops
// most: an operation is one datagram.
func BenchmarkSend(b *testing.B) {
	sends := func(b *testing.B, size int, send func() error) {
		b.Helper()
		b.SetBytes(int64(size))
		b.ReportAllocs()
		for b.Loop() {
			if err := send(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("net", func(b *testing.B) {
		bySize(b, func(b *testing.B, payload []byte) {
			to, uc := sockettest.AddrPort(netListen(b)), netListen(b)
			sends(b, len(payload), func() error {
				_, err := uc.WriteToUDPAddrPort(payload, to)
				return err
			})
		})
	})
	b.Run("SendTo", func(b *testing.B) {
		bySize(b, func(b *testing.B, payload []byte) {
			to, c := sockettest.AddrPort(netListen(b)), sockettest.Listen(b, udp.Config{}, "udp4", udp.BaseHandler{})
			sends(b, len(payload), func() error { return c.SendTo(payload, to) })
		})
	})
	b.Run("Send", func(b *testing.B) {
		bySize(b, func(b *testing.B, payload []byte) {
			c := sockettest.Dial(b, sockettest.AddrPort(netListen(b)), udp.BaseHandler{})
			sends(b, len(payload), func() error { return c.Send(payload) })
		})
	})
	b.Run("SendBatch", func(b *testing.B) {
		bySize(b, func(b *testing.B, payload []byte) {
			to, c := sockettest.AddrPort(netListen(b)), sockettest.Listen(b, udp.Config{}, "udp4", udp.BaseHandler{})
			ms := make([]udp.Message, burst)
			for i := range ms {
				ms[i] = udp.Message{Data: payload, To: to}
			}
			waiting := 0
			sends(b, len(payload), func() (err error) {
				if waiting++; waiting == len(ms) {
					_, err = c.SendBatch(ms)
					waiting = 0
				}
				return err
			})
		})
	})
}

// BenchmarkRoundTrip has one datagram outstanding. The client is package net's.
func BenchmarkRoundTrip(b *testing.B) {
	trips := func(b *testing.B, payload []byte, server *net.UDPAddr) {
		b.Helper()
		uc, to := netListen(b), server.AddrPort()
		in := make([]byte, len(payload)+1)
		b.SetBytes(int64(len(payload)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := uc.WriteToUDPAddrPort(payload, to); err != nil {
				b.Fatal(err)
			}
			if n, _, err := uc.ReadFromUDPAddrPort(in); err != nil || n != len(payload) {
				b.Fatal(n, err)
			}
		}
	}
	b.Run("net", func(b *testing.B) {
		bySize(b, func(b *testing.B, payload []byte) {
			uc := netListen(b)
			go func() {
				in := make([]byte, 65536)
				for {
					n, from, err := uc.ReadFromUDPAddrPort(in)
					if err != nil {
						return
					}
					uc.WriteToUDPAddrPort(in[:n], from)
				}
			}()
			trips(b, payload, uc.LocalAddr().(*net.UDPAddr))
		})
	})
	b.Run("Reply", func(b *testing.B) {
		bySize(b, func(b *testing.B, payload []byte) {
			c := sockettest.Listen(b, udp.Config{}, "udp4", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
				if err := d.Reply(d.Data); err != nil {
					b.Error(err)
				}
			}))
			trips(b, payload, c.LocalAddr().(*net.UDPAddr))
		})
	})
}
