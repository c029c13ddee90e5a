package ecosystem

import (
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// serveSNMP answers Get requests with the name of the system: gosnmp has a client only.
func serveSNMP(_ *udp.Conn, d udp.Datagram) {
	q, err := (&gosnmp.GoSNMP{Version: gosnmp.Version2c}).SnmpDecodePacket(append([]byte(nil), d.Data...))
	if err != nil || q.PDUType != gosnmp.GetRequest {
		return
	}
	q.PDUType = gosnmp.GetResponse
	q.Variables = []gosnmp.SnmpPDU{{Name: q.Variables[0].Name, Type: gosnmp.OctetString, Value: "router"}}
	if b, err := q.MarshalMsg(); err == nil {
		_ = d.Reply(b)
	}
}

func TestSNMP(t *testing.T) {
	everywhere(t, func(t *testing.T, server, client place) {
		s, err := server.Listen(t.Context(), "udp4", server.addr+":0", udp.HandlerFunc(serveSNMP))
		require.NoError(t, err)
		defer s.Close()
		g := &gosnmp.GoSNMP{
			Target: "127.0.0.1", Port: 161, Transport: "udp",
			Community: "public", Version: gosnmp.Version2c, Timeout: time.Second, Retries: 10,
		}
		require.NoError(t, g.Connect())
		require.NoError(t, g.Conn.Close())
		g.Conn = client.dial(t, s.LocalAddr())
		for range 20 {
			r, err := g.Get([]string{".1.3.6.1.2.1.1.5.0"})
			require.NoError(t, err)
			require.Len(t, r.Variables, 1)
			require.Equal(t, []byte("router"), r.Variables[0].Value)
		}
		require.NoError(t, g.Close())
	})
}
