package udp_test

import (
	"net"
	"testing"
	"time"
	"sync/atomic"

	"github.com/udpkit/udp"
)

func BenchmarkReadFrom(b *testing.B) {
	for _, m := range []string{"net", "udp", "udpAddrPort","receive"} {
		b.Run(m, func(b *testing.B) {
			var c packetConn
			nc, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err != nil { b.Fatal(err) }
			nc.(*net.UDPConn).SetReadBuffer(4<<20)
			c = nc.(packetConn)
			if m != "net" {
				p, err := udp.Config{}.AdoptPacket(nc.(*net.UDPConn))
				if err != nil { b.Fatal(err) }
				c = p
			}
			defer c.Close()
			s, err := udp.Dial(b.Context(), "udp4", c.LocalAddr().String(), udp.BaseHandler{})
			if err != nil { b.Fatal(err) }
			defer s.Close()
			var stop atomic.Bool
			done := make(chan bool)
			go func() {
				ms := make([]udp.Message, 512)
				for i := range ms { ms[i].Data = make([]byte, 64) }
				for !stop.Load() { s.SendBatch(ms) }
				close(done)
			}()
			buf := make([]byte, 2048)
			b.ResetTimer()
			start := time.Now()
			ds := make([]udp.Datagram, 64)
			for i := 0; i < b.N; {
				switch m {
				case "udpAddrPort":
					if _, _, err := c.(*udp.PacketConn).ReadFromUDPAddrPort(buf); err != nil { b.Fatal(err) }
					i++
				case "receive":
					n, err := c.(*udp.PacketConn).Receive(ds)
					if err != nil { b.Fatal(err) }
					for j := range n { ds[j].Release() }
					i += n
				default:
					if _, _, err := c.ReadFrom(buf); err != nil { b.Fatal(err) }
					i++
				}
			}
			b.ReportMetric(float64(b.N)/time.Since(start).Seconds()/1e6, "M/s")
			stop.Store(true)
			<-done
		})
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	for _, m := range makers[:2] {
		b.Run(m.name, func(b *testing.B) {
			l := func() packetConn {
				if m.name == "net" { c, _ := net.ListenPacket("udp4", "127.0.0.1:0"); return c.(packetConn) }
				c, _ := udp.Config{}.ListenPacket(b.Context(), "udp4", "127.0.0.1:0"); return c
			}
			d := func(a string) packetConn {
				if m.name == "net" { c, _ := net.Dial("udp4", a); return c.(packetConn) }
				c, _ := udp.Config{}.DialContext(b.Context(), "udp4", a); return c.(packetConn)
			}
			s := l()
			defer s.Close()
			c := d(s.LocalAddr().String())
			defer c.Close()
			go func() {
				buf := make([]byte, 2048)
				for { n, a, err := s.ReadFrom(buf); if err != nil { return }; s.WriteTo(buf[:n], a) }
			}()
			buf := make([]byte, 64)
			b.ResetTimer()
			for range b.N { c.Write(buf); c.Read(buf) }
		})
	}
}
