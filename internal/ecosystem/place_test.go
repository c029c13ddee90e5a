package ecosystem

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// A place is where one side of a test runs: this machine, or a host of a simulated network.
type place struct {
	udp.Config
	addr      string // of the place, without a port
	simulated bool
}

// listen opens a socket of the place, on a free port.
func (p place) listen(t *testing.T) *udp.PacketConn {
	t.Helper()
	c, err := p.ListenPacket(t.Context(), "udp4", net.JoinHostPort(p.addr, "0"))
	require.NoError(t, err)
	return c
}

// dial opens a socket of the place that is connected to an address.
func (p place) dial(t *testing.T, to net.Addr) net.Conn {
	t.Helper()
	c, err := p.DialContext(t.Context(), "udp4", to.String())
	require.NoError(t, err)
	return c
}

// everywhere runs a test on the kernel's sockets and on the simulated network.
func everywhere(t *testing.T, test func(t *testing.T, server, client place)) {
	t.Run("kernel", func(t *testing.T) { onKernel(t, test) })
	t.Run("simulation", func(t *testing.T) { simulated(t, test) })
}

func onKernel(t *testing.T, test func(t *testing.T, server, client place)) {
	noLeak(t)
	here := place{addr: "127.0.0.1"}
	test(t, here, here)
}

// noLeak fails the test if it leaves goroutines behind, other than those of init functions.
func noLeak(t *testing.T) {
	before := goleak.IgnoreCurrent()
	// kcp-go starts these from a goroutine that it starts with the program.
	workers := goleak.IgnoreAnyFunction("github.com/xtaci/kcp-go/v5.postProcessWorker")
	// memberlist's Shutdown does not wait for its probes, which end within a second.
	probes := goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probe")
	t.Cleanup(func() { goleak.VerifyNone(t, before, workers, probes) })
}

// simulated runs a test in virtual time. synctest itself fails it if goroutines are left.
func simulated(t *testing.T, test func(t *testing.T, server, client place)) {
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{Seed: 1})
		server, client := n.Host("server", "10.0.0.1"), n.Host("client", "10.0.0.2")
		client.SetLink(udptest.Faults{Loss: 0.05, Latency: 20 * time.Millisecond})
		virtual := time.Now()
		test(t, place{server.Config(), "10.0.0.1", true}, place{client.Config(), "10.0.0.2", true})
		t.Logf("%v of virtual time; lost %d of %d datagrams", time.Since(virtual),
			client.Out().Stats().Lost+client.In().Stats().Lost,
			client.Out().Stats().Entered+client.In().Stats().Entered)
	})
	t.Logf("%v of real time", time.Since(began).Round(time.Millisecond))
}

// certificate returns a certificate that is valid at the beginning of virtual time, too: the
// year 2000.
func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"server"},
		NotBefore:    time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// deadline is when a test gives up waiting for an answer.
func deadline() time.Time { return time.Now().Add(5 * time.Second) }
