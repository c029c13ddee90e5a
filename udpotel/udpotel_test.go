package udpotel

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric/noop"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/exchange"
	"github.com/udpkit/udp/metrics"
	"github.com/udpkit/udp/udptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fixed[S any] struct{ stats S }

func (f fixed[S]) Stats() S { return f.stats }

// collect reads once, and returns the instruments, as "type name unit", and the values by
// instrument and attributes.
func collect(t *testing.T, r sdk.Reader) (instruments []string, values map[string]int64) {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, r.Collect(t.Context(), &all))
	values = map[string]int64{}
	if len(all.ScopeMetrics) == 0 {
		return nil, values
	}
	require.Len(t, all.ScopeMetrics, 1)
	require.Equal(t, "github.com/udpkit/udp/udpotel", all.ScopeMetrics[0].Scope.Name)
	require.NotEmpty(t, all.ScopeMetrics[0].Scope.SchemaURL)
	for _, m := range all.ScopeMetrics[0].Metrics {
		require.NotEmpty(t, m.Description)
		var typ string
		var points []metricdata.DataPoint[int64]
		switch d := m.Data.(type) {
		case metricdata.Sum[int64]:
			typ, points = "updowncounter", d.DataPoints
			if d.IsMonotonic {
				typ = "counter"
			}
			require.Equal(t, metricdata.CumulativeTemporality, d.Temporality)
		case metricdata.Gauge[int64]:
			typ, points = "gauge", d.DataPoints
		default:
			require.Fail(t, "unexpected data", "%T", d)
		}
		instruments = append(instruments, typ+" "+m.Name+" "+m.Unit)
		for _, p := range points {
			var words []string
			for _, kv := range p.Attributes.ToSlice() {
				words = append(words, fmt.Sprintf("%s=%v", kv.Key, kv.Value.String()))
			}
			values[strings.Join(append([]string{m.Name}, words...), " ")] = p.Value
		}
	}
	return instruments, values
}

func TestRegister(t *testing.T) {
	host := udptest.NewNet(t, udptest.Config{}).Host("server", "10.0.0.1")
	q := udp.NewQueue(2, udp.DropNewest)
	c, err := host.Config().Listen(t.Context(), "udp", "10.0.0.1:7", q)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Shutdown(context.Background())) }()
	g, err := host.Config().ListenGroup(t.Context(), 1, "udp", "10.0.0.1:8", func(int) udp.Handler { return udp.BaseHandler{} })
	require.NoError(t, err)
	defer func() { require.NoError(t, g.Shutdown(context.Background())) }()
	var set metrics.Set
	reader := sdk.NewManualReader()
	provider := sdk.NewMeterProvider(sdk.WithReader(reader))
	registration, err := Register(provider, &set)
	require.NoError(t, err)
	instruments, _ := collect(t, reader)
	require.Empty(t, instruments, "the set is empty")

	set.AddSocket("echo", c)
	set.AddQueue("echo", q)
	set.AddExchange("dns", fixed[exchange.Stats]{exchange.Stats{Succeeded: 7, TimedOut: 2, Late: 1, Outstanding: 3}})
	remove := set.AddGroup("many", g)
	for range 5 {
		require.NoError(t, c.SendTo([]byte("12345"), netip.MustParseAddrPort("10.0.0.1:7")))
	}
	require.Eventually(t, func() bool { return c.Stats().Dropped.Queue == 3 && q.Stats().Dropped == 3 }, time.Minute, time.Millisecond)
	instruments, values := collect(t, reader)
	require.Subset(t, instruments, []string{
		"counter udp.socket.io By",
		"counter udp.socket.datagram.count {datagram}",
		"counter udp.socket.datagram.dropped {datagram}",
		"counter udp.socket.datagram.kernel_dropped {datagram}",
		"counter udp.socket.panics {panic}",
		"counter udp.socket.error.read {error}",
		"gauge udp.socket.datagram.queue_peak {datagram}",
		"gauge udp.socket.info 1",
		"updowncounter udp.queue.datagram.waiting {datagram}",
		"updowncounter udp.exchange.request.outstanding {request}",
	})
	for name, value := range map[string]int64{
		"udp.socket.io network.io.direction=receive udp.socket.name=echo":                                                                                                                  25,
		"udp.socket.io network.io.direction=transmit udp.socket.name=echo":                                                                                                                 25,
		"udp.socket.io network.io.direction=receive udp.group.name=many udp.socket.name=many/0":                                                                                            0,
		"udp.socket.datagram.count network.io.direction=transmit udp.socket.name=echo":                                                                                                     5,
		"udp.socket.datagram.dropped udp.reason=queue udp.socket.name=echo":                                                                                                                3,
		"udp.socket.datagram.send_failed error.type=too_large udp.socket.name=echo":                                                                                                        0,
		"udp.socket.info network.local.address=10.0.0.1 network.local.port=7 network.transport=udp udp.socket.gro=true udp.socket.gso=false udp.socket.name=echo udp.socket.steering=none": 1,
		"udp.queue.datagram.waiting udp.queue.name=echo":                                                                                                                                   2,
		"udp.exchange.request.ended udp.exchange.name=dns":                                                                                                                                 7,
		"udp.exchange.request.ended error.type=timed_out udp.exchange.name=dns":                                                                                                            2,
		"udp.exchange.request.outstanding udp.exchange.name=dns":                                                                                                                           3,
		"udp.exchange.datagram.unexpected udp.exchange.name=dns udp.reason=late":                                                                                                           1,
	} {
		got, ok := values[name]
		assert.True(t, ok, "%s is missing", name)
		assert.Equal(t, value, got, name)
	}
	remove()
	_, values = collect(t, reader)
	for name := range values {
		require.NotContains(t, name, "many", "it was removed")
	}
	require.NoError(t, registration.Unregister())
	instruments, _ = collect(t, reader)
	require.Empty(t, instruments)
	for range 2 {
		(<-q.Datagrams()).Release()
	}
}

// Names and units follow https://opentelemetry.io/docs/specs/semconv/general/naming/.
func TestNamesFollowTheConventions(t *testing.T) {
	types := map[string]metrics.Type{}
	for m := range metrics.All() {
		name, _ := conventional(m)
		assert.Regexp(t, regexp.MustCompile(`^udp\.[a-z]+(\.[a-z]+(_[a-z]+)*)+$`), name)
		assert.NotRegexp(t, `_total$|bytes`, name, "neither the type nor the unit is a part")
		assert.Regexp(t, regexp.MustCompile(`^(1|By|\{[a-z]+[^s]\}|\{address\})$`), unit(m))
		if old, ok := types[name]; ok {
			assert.Equal(t, old, m.Type, name)
		}
		types[name] = m.Type
	}
	for name := range types {
		for other := range types {
			assert.False(t, strings.HasPrefix(other, name+"."), "%s is a namespace of %s", name, other)
		}
	}
}

func TestAnotherProvider(t *testing.T) {
	_, err := Register(noop.NewMeterProvider(), new(metrics.Set))
	require.NoError(t, err)
}

func TestManySetsOfOneProvider(t *testing.T) {
	reader := sdk.NewManualReader()
	provider := sdk.NewMeterProvider(sdk.WithReader(reader))
	var one, two metrics.Set
	one.AddExchange("one", fixed[exchange.Stats]{exchange.Stats{Sent: 1}})
	two.AddExchange("two", fixed[exchange.Stats]{exchange.Stats{Sent: 2}})
	for _, s := range []*metrics.Set{&one, &two} {
		_, err := Register(provider, s)
		require.NoError(t, err)
	}
	_, values := collect(t, reader)
	require.EqualValues(t, 1, values["udp.exchange.datagram.sent udp.exchange.name=one"])
	require.EqualValues(t, 2, values["udp.exchange.datagram.sent udp.exchange.name=two"])
}
