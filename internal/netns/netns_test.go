//go:build linux

package netns_test

import (
	"flag"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/netns"
)

func TestVethCarriesDatagrams(t *testing.T) {
	for _, test := range []struct{ name, left, right string }{
		{"IPv4", "192.0.2.1", "192.0.2.2"},
		{"IPv6", "2001:db8::1", "2001:db8::2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			netns.Run(t, func() {
				here, there := netns.New(t), netns.New(t)
				netns.Veth(t, here, "left", there, "right")
				bits := "/24"
				if test.name == "IPv6" {
					bits = "/64"
				}
				here.Addr("left", test.left+bits)
				there.Addr("right", test.right+bits)

				var server net.PacketConn
				var client net.Conn
				var err error
				here.Do(func() { server, err = net.ListenPacket("udp", net.JoinHostPort(test.left, "0")) })
				require.NoError(t, err)
				defer server.Close()
				there.Do(func() { client, err = net.Dial("udp", server.LocalAddr().String()) })
				require.NoError(t, err)
				defer client.Close()

				_, err = client.Write([]byte("hello"))
				require.NoError(t, err)
				b := make([]byte, 10)
				n, from, err := server.ReadFrom(b)
				require.NoError(t, err)
				require.Equal(t, "hello", string(b[:n]))
				require.Equal(t, client.LocalAddr().String(), from.String())
			})
		})
	}
}

// After Do the thread is back in its namespace, even if the function panicked.
func TestDoComesBack(t *testing.T) {
	netns.Run(t, func() {
		where := func() string {
			s, err := os.Readlink("/proc/thread-self/ns/net")
			require.NoError(t, err)
			return s
		}
		home, n := where(), netns.New(t)
		var in string
		n.Do(func() { in = where() })
		require.NotEqual(t, home, in)
		require.Equal(t, home, where())
		require.Panics(t, func() { n.Do(func() { panic("out") }) })
		require.Equal(t, home, where())
		n.Do(func() { netns.Self(t).Do(func() { require.Equal(t, in, where()) }) })
	})
}

func TestIsolatedHasOnlyLoopback(t *testing.T) {
	netns.Isolated(t, func() {
		answers := make(chan []net.Interface)
		go func() { // on any thread
			ifs, err := net.Interfaces()
			if err != nil {
				t.Error(err)
			}
			answers <- ifs
		}()
		ifs := <-answers
		require.Len(t, ifs, 1)
		require.Equal(t, "lo", ifs[0].Name)
		require.NotZero(t, ifs[0].Flags&net.FlagUp)
	})
}

func TestCommandsRunInside(t *testing.T) {
	netns.Run(t, func() {
		n := netns.New(t)
		require.Contains(t, n.IP("-o link"), "lo")
		require.NotContains(t, n.IP("-o link"), "eth0")
		_, err := n.Try("ip", "link", "set", "nothing", "up")
		require.Error(t, err)
		if _, err := exec.LookPath("nft"); err != nil {
			t.Skip(err)
		}
		n.Command("nft", "add table inet filter")
		require.Contains(t, n.Command("nft", "list ruleset"), "table inet filter")
	})
}

// A host can send to an address of its own as soon as it has it.
func TestAddrIsUsableAtOnce(t *testing.T) {
	netns.Run(t, func() {
		for i := range 20 {
			ns := netns.New(t)
			netns.Veth(t, ns, "left", ns, "right")
			ns.Addr("left", "fe80::1/64")
			ns.Do(func() {
				pc, err := net.ListenPacket("udp6", "[fe80::1%left]:0")
				require.NoError(t, err, i)
				defer pc.Close()
				_, err = pc.WriteTo([]byte("x"), pc.LocalAddr())
				require.NoError(t, err, i)
				require.NoError(t, pc.SetReadDeadline(time.Now().Add(time.Minute)))
				_, _, err = pc.ReadFrom(make([]byte, 1))
				require.NoError(t, err, i)
			})
		}
	})
}

var mark = flag.String("mark", "", "set by TestIsolatedKeepsFlags")

func TestIsolatedKeepsFlags(t *testing.T) {
	before := *mark // in the second process: what it was started with
	require.NoError(t, flag.Set("mark", "kept"))
	netns.Isolated(t, func() { require.Equal(t, "kept", before) })
}

// However often Self is called, it is one namespace with room for cables.
func TestSelfIsOneNamespace(t *testing.T) {
	netns.Isolated(t, func() {
		there := netns.New(t)
		netns.Veth(t, netns.Self(t), "left0", there, "right0")
		netns.Veth(t, netns.Self(t), "left1", there, "right1")
		require.Len(t, netns.Self(t).Interface("left1").Name, 5)
	})
}

// Subtests that are skipped in the other process are skipped in this one too.
func TestIsolatedRepeatsSkips(t *testing.T) {
	if os.Getenv("SKIP_SUBTESTS") != "" {
		netns.Isolated(t, func() {
			t.Run("passes", func(*testing.T) {})
			t.Run("one", func(t *testing.T) {
				t.Run("skips it", func(t *testing.T) { t.Skip("since it is one") })
				t.Run("passes", func(*testing.T) {})
			})
			t.Run("another", func(t *testing.T) { t.Skip("since it is another") })
		})
		return
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestIsolatedRepeatsSkips$", "-test.v")
	cmd.Env = append(os.Environ(), "SKIP_SUBTESTS=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	if strings.Contains(string(out), "--- SKIP: TestIsolatedRepeatsSkips ") {
		t.Skipf("%s", out)
	}
	for test, reason := range map[string]string{"one/skips_it": "since it is one", "another": "since it is another"} {
		// As subtests of the parent, not only in the log of what the child printed.
		require.Regexp(t, `(?s)=== RUN   TestIsolatedRepeatsSkips/`+test+`\n[^=]*in a namespace:\n[^=]*`+reason, string(out))
		require.Regexp(t, `(?m)^ +--- SKIP: TestIsolatedRepeatsSkips/`+test+` `, string(out))
	}
	require.NotRegexp(t, `(?m)--- SKIP: \S+/passes`, string(out))
}
