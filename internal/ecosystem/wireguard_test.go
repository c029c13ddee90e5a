package ecosystem

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/curve25519"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
	"golang.zx2c4.com/wireguard/tun/tuntest"

	"github.com/udpkit/udp"
)

// A bind is a conn.Bind on a PacketConn.
type bind struct {
	at place

	mu       sync.Mutex
	conn     *udp.PacketConn
	messages []udp.Message // of Send
}

// An endpoint is a peer's address, and the address of this host that the peer last sent to.
type endpoint struct {
	peer netip.AddrPort
	here netip.Addr
}

func (e *endpoint) of(d udp.Datagram) bool { return *e == endpoint{d.From, d.To().Addr()} }

func (e *endpoint) ClearSrc()           { e.here = netip.Addr{} }
func (e *endpoint) SrcToString() string { return e.here.String() }
func (e *endpoint) DstToString() string { return e.peer.String() }
func (e *endpoint) DstToBytes() []byte  { b, _ := e.peer.MarshalBinary(); return b }
func (e *endpoint) DstIP() netip.Addr   { return e.peer.Addr() }
func (e *endpoint) SrcIP() netip.Addr   { return e.here }

func (b *bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	c, err := b.at.ListenPacket(context.Background(), "udp4", net.JoinHostPort(b.at.addr, strconv.Itoa(int(port))))
	if err != nil {
		return nil, 0, err
	}
	b.conn = c
	return []conn.ReceiveFunc{receiver(c)}, uint16(c.LocalAddr().(*net.UDPAddr).Port), nil
}

// receiver returns a function that receives as many datagrams as one read has brought.
func receiver(c *udp.PacketConn) conn.ReceiveFunc {
	ds := make([]udp.Datagram, conn.IdealBatchSize)
	return func(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		n, err := c.Receive(ds[:min(len(packets), len(ds))])
		for i, d := range ds[:n] {
			sizes[i] = copy(packets[i], d.Data)
			if i > 0 && eps[i-1].(*endpoint).of(d) {
				eps[i] = eps[i-1]
			} else {
				eps[i] = &endpoint{d.From, d.To().Addr()}
			}
			d.Release()
		}
		return n, err
	}
}

func (b *bind) Send(bufs [][]byte, to conn.Endpoint) error {
	e, ok := to.(*endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn == nil {
		return net.ErrClosed
	}
	b.messages = b.messages[:0]
	for _, data := range bufs {
		b.messages = append(b.messages, udp.Message{Data: data, To: e.peer, From: e.here})
	}
	_, err := b.conn.SendBatch(b.messages)
	return err
}

func (b *bind) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn == nil {
		return nil
	}
	err := b.conn.Close()
	b.conn = nil
	return err
}

func (b *bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	peer, err := netip.ParseAddrPort(s)
	return &endpoint{peer: peer}, err
}

func (b *bind) BatchSize() int       { return conn.IdealBatchSize }
func (b *bind) SetMark(uint32) error { return nil }

// wireguardKey returns a key pair in the form of WireGuard's configuration.
func wireguardKey(t testing.TB) (private, public string) {
	t.Helper()
	key := make([]byte, 32)
	_, err := rand.Read(key)
	require.NoError(t, err)
	pub, err := curve25519.X25519(key, curve25519.Basepoint)
	require.NoError(t, err)
	return hex.EncodeToString(key), hex.EncodeToString(pub)
}

// tunnel connects two devices, of which each lets the other have one address, and returns a
// function that ends them.
func tunnel(t testing.TB, addrs [2]string, binds [2]conn.Bind, tuns [2]tun.Device) (end func()) {
	t.Helper()
	var (
		private, public [2]string
		devices         [2]*device.Device
	)
	for i := range devices {
		private[i], public[i] = wireguardKey(t)
		devices[i] = device.NewDevice(tuns[i], binds[i], device.NewLogger(device.LogLevelSilent, ""))
		require.NoError(t, devices[i].IpcSet("private_key="+private[i]))
		require.NoError(t, devices[i].Up())
	}
	for i, d := range devices {
		other := 1 - i
		config, err := devices[other].IpcGet()
		require.NoError(t, err)
		_, port, _ := strings.Cut(config, "listen_port=")
		port, _, _ = strings.Cut(port, "\n")
		require.NoError(t, d.IpcSet("public_key="+public[other]+
			"\nendpoint="+addrs[other]+":"+port+
			"\nallowed_ip="+inside[other].String()+"/32"))
	}
	return func() {
		for _, d := range devices {
			d.Close()
		}
	}
}

// inside are the addresses of the hosts inside of the tunnel.
var inside = [2]netip.Addr{netip.MustParseAddr("1.0.0.1"), netip.MustParseAddr("1.0.0.2")}

func TestWireGuard(t *testing.T) {
	everywhere(t, func(t *testing.T, server, client place) {
		tuns := [2]*tuntest.ChannelTUN{tuntest.NewChannelTUN(), tuntest.NewChannelTUN()}
		end := tunnel(t, [2]string{server.addr, client.addr}, [2]conn.Bind{&bind{at: server}, &bind{at: client}},
			[2]tun.Device{tuns[0].TUN(), tuns[1].TUN()})
		for i := range 20 {
			from, to := i%2, 1-i%2
			ping := tuntest.Ping(inside[to], inside[from])
			arrived := false
			for try := 0; try < 50 && !arrived; try++ { // a tunnel does not retransmit
				tuns[from].Outbound <- ping
				select {
				case got := <-tuns[to].Inbound:
					require.Equal(t, ping, got)
					arrived = true
				case <-time.After(10 * time.Second):
				}
			}
			require.True(t, arrived)
		}
		end()
	})
}
