package multicast_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// runIn starts a program in a namespace and kills it when the test ends.
func runIn(t testing.TB, ns *netns.NS, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, name, args...)
	out, err := os.Create(filepath.Join(t.TempDir(), "output"))
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = out, out
	ns.Do(func() { err = cmd.Start() })
	require.NoError(t, err)
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if b, err := os.ReadFile(out.Name()); err == nil && t.Failed() {
			t.Logf("%s wrote:\n%s", name, b)
		}
		out.Close()
	})
}

// avahi-daemon responds to the query of a MulticastConn (RFC 6762 section 6.7).
func TestAvahiAnswers(t *testing.T) {
	if _, err := exec.LookPath("avahi-daemon"); err != nil {
		t.Skip(err)
	}
	netns.Run(t, func() {
		here, there := linked(t)
		runIn(t, there, "unshare", "-m", "sh", "../../../examples/mdns/testdata/avahi.sh", t.TempDir(), "enable-dbus=no")

		name := dnsmessage.MustNewName("answerer.local.")
		for _, f := range []struct {
			network string
			group   netip.Addr
			kind    dnsmessage.Type // each is published by its own family
		}{
			{"udp4", netip.MustParseAddr("224.0.0.251"), dnsmessage.TypeA},
			{"udp6", netip.MustParseAddr("ff02::fb"), dnsmessage.TypeAAAA},
		} {
			question := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: name, Type: f.kind, Class: dnsmessage.ClassINET}}}
			ask, err := question.Pack()
			require.NoError(t, err)
			asker := joinIn(t, here, udp.Config{}, f.network, ":0")
			require.NoError(t, asker.SetMulticastTTL(255))
			again := time.NewTicker(200 * time.Millisecond) // until it runs and has probed its name
			defer again.Stop()
			timeout := time.After(sockettest.Patience)
			for answered := false; !answered; {
				_, err := asker.SendGroup(ask, f.group, 5353)
				require.NoError(t, err)
				select {
				case d := <-asker.queue.Datagrams():
					var m dnsmessage.Message
					require.NoError(t, m.Unpack(d.Data))
					for _, a := range m.Answers {
						require.Equal(t, name, a.Header.Name)
						switch r := a.Body.(type) {
						case *dnsmessage.AResource:
							require.Equal(t, [4]byte{192, 0, 2, 2}, r.A)
							answered = f.kind == dnsmessage.TypeA
						case *dnsmessage.AAAAResource:
							require.Equal(t, netip.MustParseAddr("2001:db8::2").As16(), r.AAAA)
							answered = f.kind == dnsmessage.TypeAAAA
						}
					}
				case <-again.C:
				case <-timeout:
					require.FailNow(t, "no answer by "+f.network)
				}
			}
		}
	})
}

// socat receives what a MulticastConn sends to a group, and the other way round.
func TestSocatInAGroup(t *testing.T) {
	netns.Run(t, func() {
		here, there := linked(t)
		group := netip.MustParseAddr("239.1.2.3")
		m := joinIn(t, here, udp.Config{}, "udp4", ":0", group)
		// It echoes what it receives to the group.
		script := filepath.Join(t.TempDir(), "echo")
		require.NoError(t, os.WriteFile(script, fmt.Appendf(nil,
			"exec socat -u - UDP4-DATAGRAM:%v:%d,ip-multicast-if=192.0.2.2\n", group, m.port()), 0o644))
		runIn(t, there, "socat", "-u", fmt.Sprintf("UDP4-RECVFROM:7777,ip-add-membership=%v:eth,fork", group),
			"SYSTEM:sh "+script)
		again := time.NewTicker(200 * time.Millisecond) // until it runs
		defer again.Stop()
		timeout := time.After(sockettest.Patience)
		for {
			_, err := m.SendGroup([]byte("there and back"), group, 7777)
			require.NoError(t, err)
			select {
			case d := <-m.queue.Datagrams():
				require.Equal(t, "there and back", string(d.Data))
				require.Equal(t, group, d.To().Addr())
				require.Equal(t, "192.0.2.2", d.From.Addr().String())
				return
			case <-again.C:
			case <-timeout:
				require.FailNow(t, "nothing came back")
			}
		}
	})
}
