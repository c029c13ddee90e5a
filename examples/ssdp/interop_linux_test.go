package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/program"
	"github.com/udpkit/udp/internal/netns"
)

// neighbour makes another host, 192.0.2.2. We are 192.0.2.1.
func neighbour(t *testing.T) (here, there *netns.NS) {
	t.Helper()
	here, there = netns.Self(t), netns.New(t)
	netns.Veth(t, here, "eth", there, "eth")
	here.Addr("eth", "192.0.2.1/24")
	there.Addr("eth", "192.0.2.2/24")
	return here, there
}

// startIn starts a program on another host.
func startIn(t *testing.T, there *netns.NS, name string, args ...string) (p *program.Program) {
	t.Helper()
	program.Need(t, name)
	there.Do(func() { p = program.StartCmd(t, nil, exec.Command(name, args...)) })
	return p
}

// minissdpd starts that daemon, which keeps a list of the devices that it hears of.
// It is returned when it has asked which there are, for it listens from before.
func minissdpd(t *testing.T, there *netns.NS) (p *program.Program, socket string) {
	t.Helper()
	// Not t.TempDir, whose name may be too long for a socket.
	dir, err := os.MkdirTemp("", "ssdp")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	heard := udp.NewQueue(64, udp.DropNewest)
	m, err := udp.Config{ReuseAddr: true}.ListenMulticast(t.Context(), "udp4", "239.255.255.250:1900", heard)
	require.NoError(t, err)
	defer m.Close()
	socket = filepath.Join(dir, "socket")
	p = startIn(t, there, "minissdpd", "-d", "-i", "eth", "-s", socket, "-p", filepath.Join(dir, "pid"))
	for d := range heard.Datagrams() {
		if target, _, ok := parseSearch(d.Data); ok && d.From.String() == "192.0.2.2:1900" {
			require.Equal(t, "ssdp:all", target)
			return p, socket
		}
	}
	return nil, ""
}

func TestMinissdpdSeesOurDeviceAppearAndDisappear(t *testing.T) {
	netns.Isolated(t, func() {
		_, there := neighbour(t)
		daemon, _ := minissdpd(t, there)
		device := start(t, "device", "-uuid", "1-2", basic)
		for _, usn := range []string{"uuid:1-2::upnp:rootdevice", "uuid:1-2", "uuid:1-2::" + basic} {
			daemon.Line(`'NOTIFY' .* ssdp:alive`)
			daemon.Line(`new device discovered : ` + usn + `$`)
		}
		device.Stop()
		require.NoError(t, device.Err())
		for _, usn := range []string{"uuid:1-2::upnp:rootdevice", "uuid:1-2", "uuid:1-2::" + basic} {
			daemon.Line(`remove device : ` + usn + `$`)
		}
	})
}

func TestMinissdpdAsksAndWeAnswer(t *testing.T) {
	netns.Isolated(t, func() {
		_, there := neighbour(t)
		device := start(t, "device", "-uuid", "1-2", "-delay", "0", basic)
		// What is announced nobody hears, so it has to ask.
		device.Line("^announced again")
		daemon, _ := minissdpd(t, there)
		device.Line(`^192\.0\.2\.2:1900 searches ` + basic)
		daemon.Line(`'HTTP' .*nt=upnp:rootdevice`)
		daemon.Line(`new device discovered : uuid:1-2::` + basic)
	})
}

func TestMinissdpdAnswersUs(t *testing.T) {
	netns.Isolated(t, func() {
		_, there := neighbour(t)
		_, socket := minissdpd(t, there)
		// It replies for services that programs on its host have registered.
		c, err := net.Dial("unix", socket)
		require.NoError(t, err)
		defer c.Close()
		request := []byte{4}
		for _, text := range []string{"urn:x:service:y:1", "uuid:9::urn:x:service:y:1", "test", "http://192.0.2.2:80/d.xml"} {
			request = append(append(request, byte(len(text))), text...)
		}
		_, err = c.Write(request)
		require.NoError(t, err)

		client := start(t, "search", "-wait", "1m", "-count", "1", "urn:x:service:y:1")
		client.Line(`^uuid:9::urn:x:service:y:1 at http://192\.0\.2\.2:80/d\.xml, a urn:x:service:y:1, says 192\.0\.2\.2:1900$`)
		client.Rest()
		require.NoError(t, client.Err())
	})
}

func TestUpnpcFindsOurDevice(t *testing.T) {
	program.Need(t, "upnpc")
	netns.Isolated(t, func() {
		_, there := neighbour(t)
		there.IP("route add 239.255.255.250 dev eth")
		const gateway = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
		device := start(t, "device", "-location", "http://{host}:1/d.xml", "-delay", "0", gateway)
		device.Line("^uuid:")
		// It waits two seconds for answers, which may be too short on a slow machine.
		var out string
		require.Eventually(t, func() bool {
			out, _ = there.Try("upnpc", "-m", "eth", "-p", "/nonexistent", "-l") // it fails: there is no gateway behind it
			return strings.Contains(out, "desc: http://192.0.2.1:1/d.xml\n")
		}, time.Minute, time.Millisecond)
		require.Contains(t, out, "st: "+gateway)
	})
}

// An interface that comes while the device runs hears of it, with an address that
// is of use there.
func TestDeviceOnAnInterfaceThatIsCreatedLater(t *testing.T) {
	netns.Isolated(t, func() {
		here, there := neighbour(t)
		device := start(t, "device", "-uuid", "1-2", basic)
		device.Line("^announced again")

		netns.Veth(t, here, "second", there, "second")
		there.Addr("second", "198.51.100.2/24")
		heard := udp.NewQueue(64, udp.DropOldest)
		var m *udp.MulticastConn
		var err error
		there.Do(func() {
			m, err = udp.ListenMulticast(t.Context(), "udp4", "239.255.255.250:1900", heard)
		})
		require.NoError(t, err)
		defer m.Close()
		here.Addr("second", "198.51.100.1/24")
		for d := range heard.Datagrams() {
			if d.From.Addr().String() == "198.51.100.1" { // the other one is announced again
				require.Contains(t, string(d.Data), "\r\nLOCATION: http://198.51.100.1/description.xml\r\n")
				return
			}
		}
	})
}

func TestDeviceAndSearchWithIPv6(t *testing.T) {
	netns.Isolated(t, func() {
		here, _ := neighbour(t)
		here.Addr("eth", "fe80::1/64")
		const group = "[ff02::c]:1900"
		device := start(t, "device", "-group", group, "-uuid", "1-2", "-delay", "0", basic)
		device.Line(`^uuid:1-2 is in \[ff02::c\]:1900`)
		client := start(t, "search", "-group", group, "-wait", "1m", "-count", "1", basic)
		client.Line(`^uuid:1-2::` + basic + ` at http://\[fe80::1\]/description\.xml, a ` + basic + `, says \[fe80::1%eth\]:1900$`)
		client.Rest()
		require.NoError(t, client.Err())
	})
}
