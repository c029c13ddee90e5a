package faults_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

const unprivilegedSubject = "UDP_TEST_UNPRIVILEGED"

// Without CAP_NET_RAW, a process can bind a socket to a device (since Linux 5.7), but not to
// another one afterwards. Its sockets still follow their devices.
func TestADeviceIsFollowedWithoutPrivileges(t *testing.T) {
	if os.Getenv(unprivilegedSubject) != "" {
		_, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
		require.ErrorIs(t, err, unix.EPERM, "it has no CAP_NET_RAW")
		c, err := udp.Config{Device: "v0"}.Listen(context.Background(), "udp4", ":0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			_ = d.Reply(d.Data)
		}))
		require.NoError(t, err)
		fmt.Println("> port", c.LocalAddrPort().Port())
		_, _ = io.Copy(io.Discard, os.Stdin)
		sockettest.Stop(t, c)
		fmt.Println("> rebinds", c.Stats().Rebinds)
		return
	}
	netns.Isolated(t, func() {
		setpriv, err := exec.LookPath("setpriv")
		if err != nil {
			t.Skip(err)
		}
		here := netns.Self(t)
		var there *netns.NS
		connect := func() {
			there = netns.New(t)
			netns.Veth(t, here, "v0", there, "eth")
			here.Addr("v0", "192.0.2.1/24")
			there.Addr("eth", "192.0.2.2/24")
		}
		connect()
		cmd := exec.CommandContext(t.Context(), setpriv, "--bounding-set", "-net_raw", "--inh-caps", "-net_raw",
			os.Args[0], "-test.run=^TestADeviceIsFollowedWithoutPrivileges$", "-test.timeout=2m")
		cmd.Env = append(os.Environ(), unprivilegedSubject+"=1")
		cmd.Stderr = os.Stderr
		stdin, err := cmd.StdinPipe()
		require.NoError(t, err)
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(stdout)
		scan := func(format string) (n int) {
			for lines.Scan() {
				if text, ok := strings.CutPrefix(lines.Text(), "> "); ok {
					_, err := fmt.Sscanf(text, format, &n)
					require.NoError(t, err)
					return n
				}
				t.Log(lines.Text())
			}
			require.FailNow(t, "the process has ended")
			return 0
		}
		server := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(scan("port %d")))
		for i := range 3 {
			if i > 0 {
				here.IP("link del v0")
				connect()
			}
			replies := make(chan struct{}, 1000)
			client := sockettest.ListenIn(t, there, udp.Config{}, "udp4", ":0", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { replies <- struct{}{} }))
			sockettest.Eventually(t, func() bool {
				_ = client.SendTo([]byte("question"), server)
				select {
				case <-replies:
					return true
				case <-time.After(20 * time.Millisecond):
					return false
				}
			})
		}
		require.NoError(t, stdin.Close())
		require.Equal(t, 2, scan("rebinds %d"))
		for lines.Scan() {
		}
		require.NoError(t, cmd.Wait())
	})
}
