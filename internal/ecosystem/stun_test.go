package ecosystem

import (
	"testing"
	"time"

	"github.com/pion/stun/v3"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// serveSTUN answers binding requests: pion/stun has a client only.
func serveSTUN(_ *udp.Conn, d udp.Datagram) {
	m := &stun.Message{Raw: append([]byte(nil), d.Data...)}
	if m.Decode() != nil {
		return
	}
	r, err := stun.Build(stun.NewTransactionIDSetter(m.TransactionID), stun.BindingSuccess,
		&stun.XORMappedAddress{IP: d.From.Addr().Unmap().AsSlice(), Port: int(d.From.Port())})
	if err == nil {
		_ = d.Reply(r.Raw)
	}
}

func TestSTUN(t *testing.T) {
	everywhere(t, func(t *testing.T, server, client place) {
		s, err := server.Listen(t.Context(), "udp4", server.addr+":0", udp.HandlerFunc(serveSTUN))
		require.NoError(t, err)
		defer s.Close()
		conn := client.dial(t, s.LocalAddr())
		c, err := stun.NewClient(conn, stun.WithRTO(200*time.Millisecond))
		require.NoError(t, err)
		for range 20 {
			var addr stun.XORMappedAddress
			require.NoError(t, c.Do(stun.MustBuild(stun.TransactionID, stun.BindingRequest), func(e stun.Event) {
				require.NoError(t, e.Error)
				require.NoError(t, addr.GetFrom(e.Message))
			}))
			require.Equal(t, conn.LocalAddr().String(), addr.String())
		}
		require.NoError(t, c.Close())
	})
}
