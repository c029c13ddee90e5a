package ecosystem

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xquic "golang.org/x/net/quic"

	"github.com/udpkit/udp"
)

const megabytes = 2 << 20

// pattern returns bytes that differ from packet to packet.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>10 ^ i)
	}
	return b
}

var _ quic.OOBCapablePacketConn = (*udp.PacketConn)(nil)

// watched counts the control messages of WriteMsgUDP.
type watched struct {
	*udp.PacketConn
	marked, segmented int
}

func (w *watched) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (int, int, error) {
	if len(oob) > 0 {
		w.marked++
	}
	if len(b) > 1500 {
		w.segmented++
	}
	return w.PacketConn.WriteMsgUDP(b, oob, addr)
}

// quic-go marks its packets ECT(0) and sends several by one UDP_SEGMENT, on both networks.
func TestQUIC(t *testing.T) {
	everywhere(t, func(t *testing.T, server, client place) {
		s, c := server.listen(t), client.listen(t)
		seen := &watched{PacketConn: c}
		transfer(t, s, seen)
		assert.NotZero(t, seen.marked, "packets with ECN")
		assert.NotZero(t, seen.segmented, "calls that sent several packets")
	})
}

// plain hides all methods but those of net.PacketConn: quic-go then reads and writes single
// datagrams without control messages.
type plain struct{ net.PacketConn }

func TestQUICWithPacketConnOnly(t *testing.T) {
	everywhere(t, func(t *testing.T, server, client place) {
		transfer(t, plain{server.listen(t)}, plain{client.listen(t)})
	})
}

// transfer sends 2 MiB from a client to a server with quic-go and closes both conns.
func transfer(t *testing.T, serverConn, clientConn net.PacketConn) {
	t.Helper()
	tlsServer := &tls.Config{Certificates: []tls.Certificate{certificate(t)}, NextProtos: []string{"test"}}
	tlsClient := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"test"}}
	st, ct := &quic.Transport{Conn: serverConn}, &quic.Transport{Conn: clientConn}
	l, err := st.Listen(tlsServer, nil)
	require.NoError(t, err)
	got := make(chan []byte, 1)
	go func() { got <- receiveQUIC(t, l) }()
	c, err := ct.Dial(t.Context(), serverConn.LocalAddr(), tlsClient, nil)
	require.NoError(t, err)
	stream, err := c.OpenUniStreamSync(t.Context())
	require.NoError(t, err)
	sent := pattern(megabytes)
	_, err = stream.Write(sent)
	require.NoError(t, err)
	require.NoError(t, stream.Close())
	require.True(t, bytes.Equal(sent, <-got), "what arrived differs from what was sent")
	require.NoError(t, c.CloseWithError(0, ""))
	require.NoError(t, ct.Close())
	require.NoError(t, st.Close())
	require.NoError(t, clientConn.Close())
	require.NoError(t, serverConn.Close())
}

func receiveQUIC(t *testing.T, l *quic.Listener) []byte {
	c, err := l.Accept(context.Background())
	if !assert.NoError(t, err) {
		return nil
	}
	stream, err := c.AcceptUniStream(context.Background())
	if !assert.NoError(t, err) {
		return nil
	}
	b, err := io.ReadAll(stream)
	assert.NoError(t, err)
	return b
}

// BenchmarkQUIC sends ten streams of 2 MiB, one after the other, after the handshake.
func BenchmarkQUIC(b *testing.B) {
	over := func(listen func(*testing.B) net.PacketConn) contenderFunc {
		s, c := listen(b), listen(b)
		send, sent := connectQUIC(b, s, c), pattern(megabytes)
		return func(b *testing.B) cost {
			return measured(b, func() {
				for range 10 {
					send(sent)
				}
			})
		}
	}
	of, udp := contender{"net", over(netConn)}, contender{"udp", over(udpConn)}
	of.run(b) // the windows grow
	udp.run(b)
	compare(b, of, udp)
}

// connectQUIC returns a function that sends bytes and waits until they have arrived.
func connectQUIC(b *testing.B, server, client net.PacketConn) (send func([]byte)) {
	b.Helper()
	config := &tls.Config{
		Certificates: []tls.Certificate{certificate(b)}, InsecureSkipVerify: true, NextProtos: []string{"test"},
	}
	st, ct := &quic.Transport{Conn: server}, &quic.Transport{Conn: client}
	l, err := st.Listen(config, nil)
	require.NoError(b, err)
	c, err := ct.Dial(b.Context(), server.LocalAddr(), config, nil)
	require.NoError(b, err)
	accepted, err := l.Accept(b.Context())
	require.NoError(b, err)
	b.Cleanup(func() {
		assert.NoError(b, c.CloseWithError(0, ""))
		assert.NoError(b, ct.Close())
		assert.NoError(b, st.Close())
		client.Close()
		server.Close()
	})
	return func(sent []byte) {
		got := make(chan int64, 1)
		go func() {
			stream, err := accepted.AcceptUniStream(context.Background())
			if assert.NoError(b, err) {
				n, err := io.Copy(io.Discard, stream)
				assert.NoError(b, err)
				got <- n
			}
		}()
		stream, err := c.OpenUniStreamSync(context.Background())
		require.NoError(b, err)
		_, err = stream.Write(sent)
		require.NoError(b, err)
		require.NoError(b, stream.Close())
		require.EqualValues(b, len(sent), <-got)
	}
}

func TestNetQUIC(t *testing.T) {
	everywhere(t, func(t *testing.T, server, client place) {
		config := func(c *tls.Config) *xquic.Config {
			c.NextProtos, c.MinVersion = []string{"test"}, tls.VersionTLS13
			return &xquic.Config{TLSConfig: c}
		}
		s, err := xquic.NewEndpoint(server.listen(t), config(&tls.Config{Certificates: []tls.Certificate{certificate(t)}}))
		require.NoError(t, err)
		c, err := xquic.NewEndpoint(client.listen(t), nil)
		require.NoError(t, err)
		got := make(chan []byte, 1)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		go func() {
			conn, err := s.Accept(ctx)
			if !assert.NoError(t, err) {
				return
			}
			stream, err := conn.AcceptStream(ctx)
			if !assert.NoError(t, err) {
				return
			}
			b, err := io.ReadAll(stream)
			assert.NoError(t, err)
			got <- b
		}()
		conn, err := c.Dial(ctx, "udp", s.LocalAddr().String(), config(&tls.Config{InsecureSkipVerify: true}))
		require.NoError(t, err)
		stream, err := conn.NewSendOnlyStream(ctx)
		require.NoError(t, err)
		sent := pattern(megabytes)
		_, err = stream.Write(sent)
		require.NoError(t, err)
		require.NoError(t, stream.Close())
		require.True(t, bytes.Equal(sent, <-got), "what arrived differs from what was sent")
		conn.Abort(nil)
		// With a live context, Close would wait for a peer that may be gone, for 30 s.
		cancel()
		_ = c.Close(ctx)
		_ = s.Close(ctx)
	})
}
