package udp_test

import (
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// Where datagrams come one at a time, Linux writes them into the caller's buffer. What a
// read returns and counts is the same as from a buffer of the socket's.
func TestPacketConnReadsIntoTheCallersBuffer(t *testing.T) {
	onNetworks(t, func(t *testing.T, server, client udp.Config, host string) {
		server.MaxDatagram = 100
		for _, address := range []string{host + ":0", ":0"} {
			s := listenPacket(t, server, "udp4", address)
			c := dialPacket(t, client, "udp4", host+":"+portOf(s))
			send := func(b []byte) {
				_, err := c.Write(b)
				require.NoError(t, err)
			}
			peer := c.LocalAddr().String()

			b := []byte("........")
			send([]byte("short"))
			n, from, err := s.ReadFromUDPAddrPort(b)
			require.NoError(t, err)
			require.Equal(t, "short...", string(b), "only the datagram is written")
			require.Equal(t, 5, n)
			require.Equal(t, peer, from.String())

			send([]byte("longer than the buffer"))
			n, err = s.Read(b)
			require.NoError(t, err)
			require.Equal(t, "longer t", string(b[:n]))

			send(make([]byte, 101)) // too long for MaxDatagram, though not for its part
			send([]byte{})
			n, addr, err := s.ReadFrom(b)
			require.NoError(t, err)
			require.Zero(t, n)
			require.Equal(t, peer, addr.String())

			send([]byte("headers"))
			oob := make([]byte, 256)
			_, oobn, _, _, err := s.ReadMsgUDPAddrPort(b, oob)
			require.NoError(t, err)
			require.NotZero(t, oobn, "control messages")

			st := s.Stats()
			require.EqualValues(t, 1, st.Cut)
			require.EqualValues(t, 1, st.Dropped.Truncated)
			require.EqualValues(t, 5, st.Received)
			require.EqualValues(t, 4, st.Handled)
			require.EqualValues(t, len("short")+len("longer than the buffer")+101+len("headers"), st.ReceivedBytes)
		}
	})
}

// Each datagram is for one reader, whoever reads the socket meanwhile.
func TestPacketConnReadersShareNoBuffer(t *testing.T) {
	const readers, each = 4, 500
	s := listenPacket(t, udp.Config{}, "udp4", "127.0.0.1:0")
	to := netip.MustParseAddrPort("127.0.0.1:" + portOf(s))
	var (
		mu   sync.Mutex
		got  []int
		done sync.WaitGroup
	)
	for range readers {
		done.Go(func() {
			b := make([]byte, 2)
			for range each {
				n, _, err := s.ReadFromUDPAddrPort(b)
				if !assert.NoError(t, err) || !assert.Equal(t, 2, n) {
					return
				}
				mu.Lock()
				got = append(got, int(b[0])<<8|int(b[1]))
				mu.Unlock()
			}
		})
	}
	for i := range readers * each {
		_, err := s.WriteToUDPAddrPort([]byte{byte(i >> 8), byte(i)}, to)
		require.NoError(t, err)
		for s.Stats().Handled+100 < uint64(i) { // never more than the kernel has room for
			runtime.Gosched()
		}
	}
	done.Wait()
	slices.Sort(got)
	for i, v := range got {
		require.Equal(t, i, v)
	}
}
