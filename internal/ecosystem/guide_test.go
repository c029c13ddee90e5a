package ecosystem

// The functions of this file are snippets of docs/testing.md, which
// TestTheGuideShowsWhatIsCompiled of package udptest compares with it.

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"github.com/pion/dtls/v3"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/udptest"
)

// lossy returns two hosts. What passes between them takes 20 ms, and 5% is lost.
func lossy(t *testing.T) (server, client *udptest.Host) {
	n := udptest.NewNet(t, udptest.Config{Seed: 1})
	server, client = n.Host("server", "10.0.0.1"), n.Host("client", "10.0.0.2")
	client.SetLink(udptest.Faults{Loss: 0.05, Latency: 20 * time.Millisecond})
	return server, client
}

func TestYourQUIC(t *testing.T) {
	config := &tls.Config{
		Certificates:       []tls.Certificate{certificate(t)},
		InsecureSkipVerify: true,
		NextProtos:         []string{"test"},
	}
	synctest.Test(t, func(t *testing.T) {
		server, client := lossy(t)
		sc, err := server.ListenPacket(t.Context(), "udp", ":443")
		require.NoError(t, err)
		cc, err := client.ListenPacket(t.Context(), "udp", ":0")
		require.NoError(t, err)
		s, c := &quic.Transport{Conn: sc}, &quic.Transport{Conn: cc}
		l, err := s.Listen(config, nil)
		require.NoError(t, err)
		go func() {
			if conn, err := l.Accept(t.Context()); err == nil {
				if stream, err := conn.AcceptStream(t.Context()); err == nil {
					_, _ = io.Copy(stream, stream)
					_ = stream.Close()
				}
			}
		}()
		began := time.Now()
		conn, err := c.Dial(t.Context(), &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 443}, config, nil)
		require.NoError(t, err)
		stream, err := conn.OpenStream()
		require.NoError(t, err)
		_, err = stream.Write([]byte("hello"))
		require.NoError(t, err)
		require.NoError(t, stream.Close())
		echo, err := io.ReadAll(stream)
		require.NoError(t, err)
		require.Equal(t, "hello", string(echo))
		require.Less(t, time.Since(began), 10*time.Second) // virtual
		for _, c := range []io.Closer{c, s, cc, sc} {
			require.NoError(t, c.Close())
		}
	})
}

func TestYourDTLS(t *testing.T) {
	cert := certificate(t)
	synctest.Test(t, func(t *testing.T) {
		server, client := lossy(t)
		sc, err := server.ListenPacket(t.Context(), "udp4", "10.0.0.1:4433")
		require.NoError(t, err)
		cc, err := client.ListenPacket(t.Context(), "udp4", "10.0.0.2:0")
		require.NoError(t, err)
		go func() {
			s, err := dtls.ServerWithOptions(sc, cc.LocalAddr(), dtls.WithCertificates(cert))
			if err == nil && s.HandshakeContext(t.Context()) == nil {
				_, _ = io.Copy(s, s)
				_ = s.Close()
			}
		}()
		c, err := dtls.ClientWithOptions(cc, sc.LocalAddr(), dtls.WithInsecureSkipVerify(true))
		require.NoError(t, err)
		require.NoError(t, c.HandshakeContext(t.Context())) // its retransmission is tested, too
		require.NoError(t, c.Close())
		require.NoError(t, sc.Close())
	})
}

func TestYourDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := lossy(t)
		sc, err := server.ListenPacket(t.Context(), "udp", ":53")
		require.NoError(t, err)
		started := make(chan struct{})
		s := &dns.Server{
			PacketConn:        sc,
			NotifyStartedFunc: func() { close(started) },
			Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
				_ = w.WriteMsg(new(dns.Msg).SetReply(q))
			}),
		}
		go func() { _ = s.ActivateAndServe() }()
		<-started
		conn, err := client.DialContext(t.Context(), "udp", "server:53")
		require.NoError(t, err)
		question := new(dns.Msg).SetQuestion("example.org.", dns.TypeA)
		_, took, err := new(dns.Client).ExchangeWithConn(question, &dns.Conn{Conn: conn})
		require.NoError(t, err)
		require.GreaterOrEqual(t, took, 40*time.Millisecond)
		require.NoError(t, conn.Close())
		require.NoError(t, s.Shutdown())
	})
}
