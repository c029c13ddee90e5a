package udpprom

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/exchange"
	"github.com/udpkit/udp/limit"
	"github.com/udpkit/udp/metrics"
	"github.com/udpkit/udp/session"
	"github.com/udpkit/udp/udptest"
)

// fixed is something with counters.
type fixed[S any] struct{ stats S }

func (f fixed[S]) Stats() S { return f.stats }

func TestMetricsAreClean(t *testing.T) {
	n := udptest.NewNet(t, udptest.Config{})
	host := n.Host("server", "10.0.0.1")
	cfg := udp.Config{Network: host.Network()}
	q := udp.NewQueue(2, udp.DropNewest)
	c, err := cfg.Listen(t.Context(), "udp", ":7", q)
	require.NoError(t, err)
	defer c.Close()
	w, err := udp.NewWorkers(udp.WorkersConfig{Handler: udp.BaseHandler{}})
	require.NoError(t, err)
	g, err := cfg.ListenGroup(t.Context(), 1, "udp", ":8", func(int) udp.Handler { return w })
	require.NoError(t, err)
	defer func() { require.NoError(t, g.Shutdown(context.Background())) }()
	limiter, err := limit.New(limit.Config{Rate: 1, Burst: 1}, udp.BaseHandler{})
	require.NoError(t, err)

	var m metrics.Set
	remove := m.AddSocket("echo", c)
	m.AddQueue("echo", q)
	m.AddGroup("many", g)
	m.AddWorkers("many", w)
	m.AddSessions("games", fixed[session.Stats]{session.Stats{Active: 3, Evicted: 4}})
	m.AddExchange("dns", fixed[exchange.Stats]{exchange.Stats{Late: 5}})
	m.AddLimiter("front", limiter)
	registry := prometheus.NewPedanticRegistry()
	collector := New(&m)
	registry.MustRegister(collector)

	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)

	for range 5 {
		require.NoError(t, c.SendTo([]byte("12345"), netip.AddrPortFrom(host.Addr(), 7)))
	}
	require.Eventually(t, func() bool { return c.Stats().Dropped.Queue == 3 && q.Stats().Dropped == 3 }, time.Minute, time.Millisecond)
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP udp_socket_received_bytes_total Payloads of the datagrams received.
# TYPE udp_socket_received_bytes_total counter
udp_socket_received_bytes_total{group="",socket="echo"} 25
udp_socket_received_bytes_total{group="many",socket="many/0"} 0
# HELP udp_socket_info What the socket was granted; the value is always 1.
# TYPE udp_socket_info gauge
udp_socket_info{address="[::]:7",gro="true",group="",gso="false",socket="echo",steering="none"} 1
udp_socket_info{address="[::]:8",gro="true",group="many",gso="false",socket="many/0",steering="none"} 1
# HELP udp_queue_waiting_datagrams Datagrams that wait for a consumer.
# TYPE udp_queue_waiting_datagrams gauge
udp_queue_waiting_datagrams{queue="echo"} 2
# HELP udp_queue_dropped_datagrams_total Datagrams for which there was no room, or that arrived after the queue ended.
# TYPE udp_queue_dropped_datagrams_total counter
udp_queue_dropped_datagrams_total{queue="echo"} 3
# HELP udp_exchange_unexpected_datagrams_total Datagrams that are not a response to a pending request.
# TYPE udp_exchange_unexpected_datagrams_total counter
udp_exchange_unexpected_datagrams_total{exchange="dns",reason="late"} 5
udp_exchange_unexpected_datagrams_total{exchange="dns",reason="malformed"} 0
udp_exchange_unexpected_datagrams_total{exchange="dns",reason="spoofed"} 0
udp_exchange_unexpected_datagrams_total{exchange="dns",reason="unknown"} 0
# HELP udp_session_active_sessions Sessions that have begun and not ended.
# TYPE udp_session_active_sessions gauge
udp_session_active_sessions{session="games"} 3
`), "udp_socket_received_bytes_total", "udp_socket_info", "udp_queue_waiting_datagrams", "udp_queue_dropped_datagrams_total",
		"udp_exchange_unexpected_datagrams_total", "udp_session_active_sessions"))

	count := testutil.CollectAndCount(collector, "udp_socket_received_bytes_total")
	require.Equal(t, 2, count)
	again := m.AddSocket("echo", c)
	remove() // the name is not its own any more
	require.Equal(t, 2, testutil.CollectAndCount(collector, "udp_socket_received_bytes_total"))
	again()
	require.Equal(t, 1, testutil.CollectAndCount(collector, "udp_socket_received_bytes_total"))
	for range 2 {
		(<-q.Datagrams()).Release()
	}
}

// A closed socket keeps its last values, so that the sum over a restart is right.
func TestClosedSocket(t *testing.T) {
	c, err := udp.Listen(t.Context(), "udp", "127.0.0.1:0", udp.BaseHandler{})
	require.NoError(t, err)
	var set metrics.Set
	set.AddSocket("s", c)
	m := New(&set)
	before := testutil.CollectAndCount(m)
	require.NoError(t, c.Close())
	<-c.Done()
	require.Equal(t, before, testutil.CollectAndCount(m))
}
