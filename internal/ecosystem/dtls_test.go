package ecosystem

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/pion/dtls/v3"
	dtlsnet "github.com/pion/dtls/v3/pkg/net"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/session"
)

// echo sends back what it reads, until the end.
func echo(c io.ReadWriter) {
	b := make([]byte, 2048)
	for {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		if _, err = c.Write(b[:n]); err != nil {
			return
		}
	}
}

func dtlsClient(t *testing.T, at place, to net.Addr) *dtls.Conn {
	t.Helper()
	c, err := dtls.ClientWithOptions(at.listen(t), to, dtls.WithInsecureSkipVerify(true))
	require.NoError(t, err)
	require.NoError(t, c.HandshakeContext(t.Context()))
	return c
}

// converse sends a message until its echo returns: DTLS does not retransmit data.
func converse(t *testing.T, c net.Conn, text string) {
	t.Helper()
	b := make([]byte, 2048)
	for range 50 {
		_, err := c.Write([]byte(text))
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(deadline()))
		n, err := c.Read(b)
		if isTimeout(err) {
			continue
		}
		require.NoError(t, err)
		require.Equal(t, text, string(b[:n]))
		return
	}
	t.Fatal("no answer to 50 datagrams")
}

// A conn of the client and a conn of the server, without a listener.
func TestDTLS(t *testing.T) {
	everywhere(t, func(t *testing.T, server, client place) {
		pc, cc := server.listen(t), client.listen(t)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s, err := dtls.ServerWithOptions(pc, cc.LocalAddr(), dtls.WithCertificates(certificate(t)))
			if !assert.NoError(t, err) || !assert.NoError(t, s.HandshakeContext(t.Context())) {
				return
			}
			echo(s)
			_ = s.Close()
		}()
		c, err := dtls.ClientWithOptions(cc, pc.LocalAddr(), dtls.WithInsecureSkipVerify(true))
		require.NoError(t, err)
		require.NoError(t, c.HandshakeContext(t.Context()))
		for range 20 {
			converse(t, c, "hello")
		}
		require.NoError(t, c.Close())
		_ = pc.Close() // the alert at the end may have been lost
		<-ended
	})
}

// Many clients of one port, by session.Listen.
func TestDTLSListener(t *testing.T) {
	everywhere(t, func(t *testing.T, server, client place) {
		inner, err := session.Config{Socket: server.Config}.Listen(t.Context(), "udp4", server.addr+":0")
		require.NoError(t, err)
		l, err := dtls.NewListenerWithOptions(dtlsnet.PacketListenerFromListener(inner),
			dtls.WithCertificates(certificate(t)))
		require.NoError(t, err)
		serving := make(chan struct{})
		go func() {
			defer close(serving)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				t.Cleanup(func() { _ = c.Close() })
				go func() {
					if c.(*dtls.Conn).HandshakeContext(context.Background()) == nil {
						echo(c)
					}
				}()
			}
		}()
		for _, name := range []string{"anne", "ben", "cleo", "dan"} {
			c := dtlsClient(t, client, l.Addr())
			converse(t, c, name)
			require.NoError(t, c.Close())
		}
		require.NoError(t, l.Close())
		<-serving
	})
}
