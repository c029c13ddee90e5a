package metrics

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/exchange"
	"github.com/udpkit/udp/limit"
	"github.com/udpkit/udp/session"
	"github.com/udpkit/udp/udptest"
)

// fixed is something with counters.
type fixed[S any] struct{ stats S }

func (f fixed[S]) Stats() S { return f.stats }

// collected are the samples of a set by kind, name and labels.
func collected(s *Set) map[string]float64 {
	m := map[string]float64{}
	for v := range s.Samples() {
		m[strings.Join(append([]string{v.Metric.Kind, v.Metric.Name}, v.Labels...), " ")] = v.Value
	}
	return m
}

func TestSamples(t *testing.T) {
	cfg := udptest.NewNet(t, udptest.Config{}).Host("server", "10.0.0.1").Config()
	q := udp.NewQueue(2, udp.DropNewest)
	w, err := udp.NewWorkers(udp.WorkersConfig{Handler: udp.BaseHandler{}})
	require.NoError(t, err)
	g, err := cfg.ListenGroup(t.Context(), 1, "udp", ":8", func(int) udp.Handler { return w })
	require.NoError(t, err)
	l, err := limit.New(limit.Config{Rate: 1, Burst: 1}, udp.BaseHandler{})
	require.NoError(t, err)
	var set Set
	assert.Empty(t, collected(&set))
	set.AddQueue("q", q)
	set.AddWorkers("w", w)
	set.AddLimiter("l", l)
	set.AddSessions("s", fixed[session.Stats]{session.Stats{Active: 3, Evicted: 4}})
	set.AddExchange("x", fixed[exchange.Stats]{exchange.Stats{Late: 5}})
	remove := set.AddGroup("g", g)
	with := collected(&set)
	for name, value := range map[string]float64{
		"session active_sessions s": 3, "session ended_sessions s evicted": 4, "exchange unexpected_datagrams x late": 5,
		"queue waiting_datagrams q": 0, "workers dropped_datagrams w full": 0, "limit sources l": 0,
		"socket received_datagrams g/0 g": 0, "socket dropped_datagrams g/0 g queue": 0,
		"socket info g/0 g [::]:8 true false none": 1,
	} {
		got, ok := with[name]
		assert.True(t, ok, name)
		assert.Equal(t, value, got, name)
	}
	for v := range set.Samples() {
		assert.Len(t, v.Labels, len(v.Metric.Labels), v.Metric.Name)
	}
	for range set.Samples() {
		break // at any of them
	}

	// The counters of a closed socket stay until it is removed.
	require.NoError(t, g.Close())
	<-g.Done()
	assert.Len(t, collected(&set), len(with))
	remove()
	assert.Less(t, len(collected(&set)), len(with))
}

func TestNewerSourceTakesTheName(t *testing.T) {
	var set Set
	older := set.AddExchange("x", fixed[exchange.Stats]{exchange.Stats{Requests: 1}})
	newer := set.AddExchange("x", fixed[exchange.Stats]{exchange.Stats{Requests: 2}})
	set.AddSessions("x", fixed[session.Stats]{}) // of another kind
	older()
	assert.EqualValues(t, 2, collected(&set)["exchange requests x"])
	newer()
	newer()
	assert.NotContains(t, collected(&set), "exchange requests x")
	assert.Contains(t, collected(&set), "session begun_sessions x")
}
