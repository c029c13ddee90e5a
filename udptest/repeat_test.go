package udptest_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

func TestARunRepeatsExactlyAndTheSeedChangesIt(t *testing.T) {
	f := udptest.Faults{
		Loss: 0.1, Burst: udptest.Burst{Begin: 0.05, End: 0.3, Bad: 0.8}, Exact: udptest.Exact{Lost: 1, Of: 20},
		Duplicate: 0.1, Latency: time.Millisecond, Jitter: 5 * time.Millisecond, Reorder: 0.1, ReorderBy: time.Millisecond,
		Rate: 1e6,
	}
	first, _ := run(t, 7, f, 2000, 100, time.Millisecond)
	for range 3 {
		again, _ := run(t, 7, f, 2000, 100, time.Millisecond)
		require.Equal(t, first, again)
	}
	other, _ := run(t, 8, f, 2000, 100, time.Millisecond)
	require.NotEqual(t, first, other)
}

func TestWhatOneFaultDoesDoesNotDependOnOthers(t *testing.T) {
	lossy, _ := run(t, 7, udptest.Faults{Loss: 0.3}, 500, 4, time.Millisecond)
	late, _ := run(t, 7, udptest.Faults{Loss: 0.3, Jitter: time.Second}, 500, 4, time.Millisecond)
	a, b := numbers(lossy), numbers(late)
	slices.Sort(b)
	require.Equal(t, a, b)
}

// crowd lets many hosts talk at the same instants over a network with every
// fault, and returns all that has passed each link and each handler, byte by byte.
func crowd(t *testing.T, seed uint64) string {
	const hosts, rounds = 12, 50
	all := make(map[string]*strings.Builder) // by link and by host
	synctest.Test(t, func(t *testing.T) {
		bad := udptest.Faults{
			Loss: 0.1, Duplicate: 0.1, Jitter: 3 * time.Millisecond, Corrupt: 0.05, Reorder: 0.1, ReorderBy: time.Millisecond,
		}
		n := udptest.NewNet(t, udptest.Config{Seed: seed, Faults: bad, Tick: time.Millisecond})
		at := func() time.Duration { return time.Duration(time.Now().UnixNano() % 1e12) }
		var members []*udp.MulticastConn
		var together sync.WaitGroup
		for i := range hosts {
			h := n.Host(fmt.Sprint("h", i), fmt.Sprintf("10.0.0.%d/24", i+1))
			// What remembers what has passed: it depends on the order of those who come together.
			in := bad
			in.Burst, in.Exact = udptest.Burst{Begin: 0.1, End: 0.5, Bad: 0.5}, udptest.Exact{Lost: 1, Of: 10}
			in.Rate, in.Queue = 1e6, 500
			h.In().Set(in)
			for _, p := range []*udptest.Pipe{h.Out(), h.In()} {
				b := new(strings.Builder)
				all[p.String()] = b
				p.Tap(func(f udptest.Frame) { fmt.Fprintf(b, "%v %q %x\n", at(), f.Lost, f.IP) })
			}
			b := new(strings.Builder)
			all[h.Name()] = b
			cfg := on(h)
			cfg.PeerErrors = true
			m, err := cfg.ListenMulticast(ctx, "udp4", ":9", &scribe{out: b, at: at}, group)
			require.NoError(t, err)
			defer m.Close()
			members = append(members, m)
		}
		for i, m := range members {
			together.Go(func() {
				time.Sleep(time.Millisecond / 2) // datagrams arrive on whole ones: none of these races with an answer
				for round := range rounds {
					time.Sleep(10 * time.Millisecond) // all of them at once
					text := fmt.Appendf(nil, "round %d of %d", round, i)
					for _, to := range []string{"239.1.2.3:9", fmt.Sprintf("10.0.0.%d:9", round%hosts+1), fmt.Sprintf("10.0.0.%d:10", i%3+1), "10.0.0.99:9"} {
						assert.NoError(t, m.SendTo(text, netip.MustParseAddrPort(to)))
					}
				}
			})
		}
		together.Wait()
		time.Sleep(time.Minute)
	})
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	var s strings.Builder
	for _, name := range names {
		fmt.Fprintf(&s, "%s:\n%s", name, all[name])
	}
	return s.String()
}

// A scribe records its callbacks, and responds.
type scribe struct {
	udp.BaseHandler
	out *strings.Builder
	at  func() time.Duration
}

func (s *scribe) Received(_ *udp.Conn, d udp.Datagram) {
	fmt.Fprintf(s.out, "%v %v > %v %q\n", s.at(), d.From, d.To().Addr(), d.Data)
	if len(d.Data) > 0 && d.Data[0] == 'r' {
		_ = d.Reply(append([]byte("to "), d.Data...))
	}
}

func (s *scribe) Refused(_ *udp.Conn, r *udp.Refusal) {
	fmt.Fprintf(s.out, "%v refused %v %v %q\n", s.at(), r.Peer, r.Err, r.Payload)
}

func TestARunOfManyAtOnceRepeatsByteForByte(t *testing.T) {
	first := crowd(t, 7)
	for _, what := range []string{"refused", `"lost"`, `"queue full"`} {
		require.True(t, strings.Contains(first, what), "%s: the run tries nothing", what)
	}
	for _, procs := range []int{1, 2, 4} {
		before := runtime.GOMAXPROCS(procs)
		again := crowd(t, 7)
		runtime.GOMAXPROCS(before)
		require.True(t, first == again, "GOMAXPROCS %d: %s", procs, difference(first, again))
	}
	require.False(t, first == crowd(t, 8), "the seed decides")
}

// difference is where two texts are not the same.
func difference(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(as), len(bs)) {
		if as[i] != bs[i] {
			return fmt.Sprintf("line %d: %s\nand: %s", i, as[i], bs[i])
		}
	}
	return "one is longer"
}

// Goroutines of one host that send at the same instant do it in any order, but
// what happens to a datagram does not depend on that, as long as each has a socket
// of its own and the link remembers nothing.
func TestWhatHappensToADatagramDoesNotDependOnOthersOfItsHost(t *testing.T) {
	fates := func(seed uint64) (got []string) {
		synctest.Test(t, func(t *testing.T) {
			n := udptest.NewNet(t, udptest.Config{Seed: seed})
			a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
			a.Out().Set(udptest.Faults{Loss: 0.3, Duplicate: 0.3, Jitter: time.Second, Reorder: 0.3, ReorderBy: time.Second})
			began := time.Now()
			listen(t, on(b), "udp", ":7", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
				got = append(got, fmt.Sprintf("%s after %v", d.Data, time.Since(began)))
			}))
			var conns []*udp.ConnectedConn
			for range 8 {
				conns = append(conns, dial(t, on(a), "udp", "b:7", udp.BaseHandler{}))
			}
			var together sync.WaitGroup
			for i, c := range conns {
				together.Go(func() {
					for k := range 50 {
						assert.NoError(t, c.Send(fmt.Appendf(nil, "%d of %d", k, i)))
						time.Sleep(time.Millisecond)
					}
				})
			}
			together.Wait()
			time.Sleep(time.Minute)
			synctest.Wait()
		})
		slices.Sort(got)
		return got
	}
	first := fates(7)
	require.Greater(t, len(first), 300)
	for _, procs := range []int{1, 2, 4} {
		before := runtime.GOMAXPROCS(procs)
		again := fates(7)
		runtime.GOMAXPROCS(before)
		require.Equal(t, first, again, "GOMAXPROCS %d", procs)
	}
	require.NotEqual(t, first, fates(8))
}
