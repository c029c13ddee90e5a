package ifmon

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp/internal/socket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network is a Network whose interfaces a test changes.
type network struct {
	socket.Network
	mu       sync.Mutex
	ifs      []socket.Interface
	err      error
	lists    int
	watchers map[int]func()
	next     int
}

func (n *network) Interfaces() ([]socket.Interface, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lists++
	return append([]socket.Interface(nil), n.ifs...), n.err
}

func (n *network) Watch(changed func()) (stop func(), err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.watchers == nil {
		n.watchers = map[int]func(){}
	}
	id := n.next
	n.next++
	n.watchers[id] = changed
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.watchers, id)
	}, nil
}

func (n *network) set(err error, generations ...uint64) {
	n.mu.Lock()
	n.ifs, n.err = nil, err
	for i, g := range generations {
		n.ifs = append(n.ifs, socket.Interface{Interface: net.Interface{Index: i + 1, Name: fmt.Sprint("eth", i)}, Generation: g})
	}
	watchers := slices.Collect(maps.Values(n.watchers))
	n.mu.Unlock()
	for _, changed := range watchers {
		changed()
	}
}

// follower records its calls in a log that it shares with others.
type follower struct {
	mu         *sync.Mutex
	log        *[]string
	incomplete bool
}

func (f *follower) LeaveStale(_ []socket.Interface, renew bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	*f.log = append(*f.log, fmt.Sprint("leave ", renew))
	return true
}

func (f *follower) Reconcile([]socket.Interface) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	*f.log = append(*f.log, "join")
	return !f.incomplete
}

// All followers leave before any joins, once for each burst of changes, and when one of them
// prepares a change of its own.
func TestAllLeaveBeforeAnyJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		var mu sync.Mutex
		var log []string
		one, two := &follower{mu: &mu, log: &log}, &follower{mu: &mu, log: &log}
		m, err := Join(n, one)
		require.NoError(t, err)
		defer m.Leave(one)
		same, err := Join(n, two)
		require.NoError(t, err)
		defer m.Leave(two)
		require.Same(t, m, same)
		calls := func() (calls []string) {
			time.Sleep(time.Second)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			calls, log = log, nil
			return calls
		}
		all := []string{"leave true", "leave true", "join", "join"}
		for g := range uint64(5) {
			n.set(nil, g, g)
			time.Sleep(quiet / 2)
		}
		require.Equal(t, all, calls())
		require.Equal(t, 1, n.lists)

		m.Lock()
		ifs, err := m.Prepare()
		require.NoError(t, err)
		require.Len(t, ifs, 2)
		m.Unlock()
		require.Empty(t, calls(), "nothing has changed")
		n.mu.Lock()
		n.ifs[0].Emptied++ // and the notification is late
		n.mu.Unlock()
		m.Lock()
		_, err = m.Prepare()
		require.NoError(t, err)
		m.Unlock()
		require.Equal(t, append([]string{"leave false", "leave false"}, all...), calls())

		start := time.Now()
		for time.Since(start) < 3*maxDelay { // a burst that goes on
			n.set(nil, 1, 2)
			time.Sleep(quiet / 2)
		}
		require.InDelta(t, 3*len(all), len(calls()), float64(len(all)), "one for each maxDelay")
		m.Leave(one)
		require.Len(t, n.watchers, 1)
		m.Leave(two)
		require.Empty(t, n.watchers)
		m.Lock()
		_, err = m.Prepare()
		m.Unlock()
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

// A failed join is tried again after ten seconds. A failed list of the interfaces is tried again
// after pauses that grow up to ten seconds.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		var mu sync.Mutex
		var log []string
		f := &follower{mu: &mu, log: &log, incomplete: true}
		m, err := Join(n, f)
		require.NoError(t, err)
		defer m.Leave(f)
		lists := func(d time.Duration) int {
			n.mu.Lock()
			before := n.lists
			n.mu.Unlock()
			time.Sleep(d)
			synctest.Wait()
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.lists - before
		}
		m.Retry()
		require.Zero(t, lists(retryAfter-1))
		require.Equal(t, 3, lists(2*retryAfter+1))
		mu.Lock()
		f.incomplete = false
		mu.Unlock()
		require.Equal(t, 1, lists(10*retryAfter), "and then everything is joined")

		n.set(errors.New("not now"))
		require.Equal(t, 3, lists(quiet+3*listAgain), "after 30, 330 and 930 milliseconds")
		require.InDelta(t, 360, lists(time.Hour), 10)
		n.mu.Lock()
		n.err = nil
		n.mu.Unlock()
		require.Equal(t, 1, lists(2*retryAfter))
		require.Zero(t, lists(time.Hour))
	})
}

// uncomparable is a Network that cannot be the key of a map.
type uncomparable struct {
	*network
	_ []int
}

func TestAMonitorThatCannotBeShared(t *testing.T) {
	n := uncomparable{network: &network{}}
	f := &follower{}
	one, err := Join(n, f)
	require.NoError(t, err)
	two, err := Join(n, f)
	require.NoError(t, err)
	require.NotSame(t, one, two)
	one.Leave(f)
	two.Leave(f)
	require.Empty(t, n.watchers)
}
