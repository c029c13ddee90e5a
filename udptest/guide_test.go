package udptest_test

// The functions of this file are the snippets of docs/testing.md, which
// TestTheGuideShowsWhatIsCompiled compares with it.

import (
	"context"
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// greet is the handler under test. It replies to a name with a greeting.
func greet(_ *udp.Conn, d udp.Datagram) {
	_ = d.Reply(append([]byte("hello "), d.Data...))
}

func TestGreet(t *testing.T) {
	r := udptest.NewRecorder(t)
	r.Start(udp.HandlerFunc(greet))
	r.Receive(udp.Datagram{Data: []byte("Anne")})
	require.Equal(t, "hello Anne", string(r.Sent()[0].Data))
}

// ask sends a question once a second until there is a reply.
func ask(ctx context.Context, cfg udp.Config, server, question string) (string, error) {
	q := udp.NewQueue(1, udp.DropNewest)
	c, err := cfg.Dial(ctx, "udp", server, q)
	if err != nil {
		return "", err
	}
	defer c.Close()
	for ctx.Err() == nil {
		if err := c.Send([]byte(question)); err != nil {
			return "", err
		}
		second, cancel := context.WithTimeout(ctx, time.Second)
		d, err := q.Receive(second)
		cancel()
		if err == nil {
			return string(d.Data), nil
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			return "", err // ctx's error, a *udp.Refusal, or what stopped the socket
		}
	}
	return "", ctx.Err()
}

func TestAskOverANetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		client, server := n.Host("client", "10.0.0.1"), n.Host("server", "10.0.0.2")
		client.Out().Set(udptest.Faults{Latency: 40 * time.Millisecond})

		s, err := server.Config().Listen(t.Context(), "udp", ":7", udp.HandlerFunc(greet))
		require.NoError(t, err)
		defer s.Close()

		began := time.Now()
		reply, err := ask(t.Context(), client.Config(), "server:7", "Anne")
		require.NoError(t, err)
		require.Equal(t, "hello Anne", reply)
		require.Equal(t, 40*time.Millisecond+2*udptest.LinkTime, time.Since(began))
	})
}

// network returns a client, and a server that greets.
func network(t *testing.T) (n *udptest.Net, client, server *udptest.Host) {
	n = udptest.NewNet(t, udptest.Config{Seed: 1})
	client, server = n.Host("client", "10.0.0.1"), n.Host("server", "10.0.0.2")
	s, err := server.Config().Listen(t.Context(), "udp", ":7", udp.HandlerFunc(greet))
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return n, client, server
}

func TestAskRepeatsWhatWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, _ := network(t)
		client.Out().Set(udptest.Faults{Script: udptest.DropNth(1, 2)})
		began := time.Now()
		_, err := ask(t.Context(), client.Config(), "server:7", "Anne")
		require.NoError(t, err)
		require.Equal(t, 2, int(time.Since(began)/time.Second), "seconds")
		require.Equal(t, uint64(3), client.Out().Stats().Entered)
	})
}

func TestAskOverABadLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, server := network(t)
		client.Out().Set(udptest.Faults{
			Loss: 0.3, Duplicate: 0.05, Latency: 80 * time.Millisecond, Jitter: 40 * time.Millisecond,
		})
		server.Out().Set(udptest.Faults{Burst: udptest.Burst{Begin: 0.05, End: 0.2, Bad: 1}})
		for range 1000 {
			_, err := ask(t.Context(), client.Config(), "server:7", "Anne")
			require.NoError(t, err)
		}
	})
}

func TestAskWhenTheServerHasStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, client, server := network(t)
		cfg := client.Config()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()

		_, err := ask(ctx, cfg, "server:8", "Anne") // nobody listens there
		require.ErrorIs(t, err, syscall.ECONNREFUSED)

		n.Partition([]*udptest.Host{client}, []*udptest.Host{server})
		time.AfterFunc(10*time.Minute, n.Heal)
		began := time.Now()
		_, err = ask(ctx, cfg, "server:7", "Anne")
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Since(began), 10*time.Minute)

		server.Crash()
		_, err = ask(ctx, cfg, "server:7", "Anne")
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestAskSurvivesTheKernel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, server := network(t)
		server.FailRead(7, 1, syscall.ENOMEM)
		client.FailSend(0, 1, syscall.ENOBUFS)
		reply, err := ask(t.Context(), client.Config(), "server:7", "Anne")
		require.NoError(t, err)
		require.Equal(t, "hello Anne", reply)
	})
}

func TestGroupsAndInterfaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1/24"), n.Host("b", "10.0.0.2/24")
		wifi := b.Attach(n.Segment("wifi"), "wlan0", "10.9.0.2/24")

		group := netip.MustParseAddr("239.1.2.3")
		q := udp.NewQueue(1, udp.Block)
		m, err := b.Config().ListenMulticast(t.Context(), "udp4", ":5000", q, group)
		require.NoError(t, err)
		defer m.Close()

		c, err := a.Config().Listen(t.Context(), "udp4", ":0", udp.BaseHandler{})
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.SendTo([]byte("everybody"), netip.AddrPortFrom(group, 5000)))
		d, err := q.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, group, d.To().Addr())

		require.NoError(t, m.Memberships()[0].On[1].Err, "wlan0")
		wifi.Remove()
		n.Settle()
		for _, on := range m.Memberships()[0].On {
			require.Equal(t, on.Name == "eth0", on.Err == nil, "it holds on eth0 only")
		}
	})
}

func TestAskFromBehindANAT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		home, internet := n.Segment("home"), n.Segment("internet")
		router := n.Router("router")
		router.Attach(home, "eth0", "192.168.0.254/24")
		outside := router.Attach(internet, "eth1", "203.0.113.9")
		router.SetNAT(outside, udptest.NATConfig{
			Mapping: udptest.EndpointIndependent, Filtering: udptest.AddressDependent, Timeout: 30 * time.Second,
		})
		phone, server := home.Host("phone", "192.168.0.1/24"), internet.Host("server", "198.51.100.7")
		phone.SetGateway("192.168.0.254")

		s, err := server.Config().Listen(t.Context(), "udp", ":7",
			udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { _ = d.Reply([]byte(d.From.Addr().String())) }))
		require.NoError(t, err)
		defer s.Close()
		reply, err := ask(t.Context(), phone.Config(), "server:7", "who am I?")
		require.NoError(t, err)
		require.Equal(t, "203.0.113.9", reply)
	})
}
