package udptest_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

const link = udptest.LinkTime

// an arrival is one datagram of run: its number, and when it came, without what the
// link itself takes.
type arrival struct {
	number int
	at     time.Duration
	size   int
}

// run sends numbered datagrams of so many bytes from one host to another, and
// returns what arrives.
func run(t *testing.T, seed uint64, f udptest.Faults, count, size int, gap time.Duration) (got []arrival, stats udptest.PipeStats) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{Seed: seed})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		a.Out().Set(f)
		began := time.Now()
		server := listen(t, on(b), "udp", ":7", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			got = append(got, arrival{int(binary.BigEndian.Uint32(d.Data)), time.Since(began) - link, len(d.Data)})
		}))
		c := dial(t, on(a), "udp", "b:7", udp.BaseHandler{})
		data := make([]byte, max(size, 4))
		for i := range count {
			binary.BigEndian.PutUint32(data, uint32(i+1))
			require.NoError(t, c.Send(data))
			time.Sleep(gap)
		}
		time.Sleep(time.Hour)
		require.NoError(t, server.Shutdown(ctx))
		stats = a.Out().Stats()
	})
	return got, stats
}

func numbers(as []arrival) (ns []int) {
	for _, a := range as {
		ns = append(ns, a.number)
	}
	return ns
}

func upTo(n int, without ...int) (ns []int) {
	for i := range n {
		if !slices.Contains(without, i+1) {
			ns = append(ns, i+1)
		}
	}
	return ns
}

func TestAPerfectLinkBringsEverythingOnceAndInOrder(t *testing.T) {
	got, stats := run(t, 1, udptest.Faults{}, 1000, 4, time.Millisecond)
	require.Equal(t, upTo(1000), numbers(got))
	require.Equal(t, udptest.PipeStats{Entered: 1000, EnteredBytes: 32000, Passed: 1000}, stats)
}

func TestLossLosesItsShare(t *testing.T) {
	got, stats := run(t, 1, udptest.Faults{Loss: 0.1}, 10000, 4, time.Millisecond)
	require.Equal(t, 9001, len(got), "of this seed")
	require.Equal(t, uint64(999), stats.Lost)
	// Losses come one by one: the pairs are as many as chance makes.
	pairs := 0
	lost := make(map[int]bool)
	for _, n := range upTo(10000, numbers(got)...) {
		lost[n] = true
		if lost[n-1] {
			pairs++
		}
	}
	require.Equal(t, 104, pairs, "0.1 * 999 are to be expected")
	everything, _ := run(t, 1, udptest.Faults{Loss: 1}, 100, 4, time.Millisecond)
	require.Empty(t, everything)
}

func TestBurstsLoseManyInARow(t *testing.T) {
	// Bad for 1/0.1 = 10 datagrams on average, 1% of them begin: one in eleven is lost.
	got, stats := run(t, 1, udptest.Faults{Burst: udptest.Burst{Begin: 0.01, End: 0.1, Bad: 1}}, 20000, 4, time.Millisecond)
	require.Equal(t, 20000-len(got), int(stats.Lost))
	bursts, last := 0, 0
	for _, n := range upTo(20000, numbers(got)...) {
		if n != last+1 {
			bursts++
		}
		last = n
	}
	require.Equal(t, 1989, int(stats.Lost), "1818 are to be expected")
	require.Equal(t, 184, bursts, "of 10 each")
}

func TestExactLossIsExactInEveryBlock(t *testing.T) {
	got, _ := run(t, 1, udptest.Faults{Exact: udptest.Exact{Lost: 3, Of: 10}}, 1000, 4, time.Millisecond)
	require.Len(t, got, 700)
	perBlock, places := make(map[int]int), make(map[int]bool)
	for _, n := range upTo(1000, numbers(got)...) {
		perBlock[(n-1)/10]++
		places[(n-1)%10] = true
	}
	require.Len(t, perBlock, 100)
	for _, lost := range perBlock {
		require.Equal(t, 3, lost)
	}
	require.Len(t, places, 10, "anywhere in a block")
}

func TestAScriptLosesTheThird(t *testing.T) {
	got, stats := run(t, 1, udptest.Faults{Script: udptest.DropNth(3, 5)}, 6, 4, time.Millisecond)
	require.Equal(t, []int{1, 2, 4, 6}, numbers(got))
	require.Equal(t, uint64(2), stats.Lost)
	byContent := func(_ int, p udptest.Packet) bool { return p.Data[3] == 2 && p.To.Port() == 7 && p.TTL == 64 }
	got, _ = run(t, 1, udptest.Faults{Script: byContent}, 3, 4, time.Millisecond)
	require.Equal(t, []int{1, 3}, numbers(got))
}

func TestDuplicatesArriveTwice(t *testing.T) {
	got, stats := run(t, 1, udptest.Faults{Duplicate: 1}, 3, 4, time.Millisecond)
	require.Equal(t, []int{1, 1, 2, 2, 3, 3}, numbers(got))
	require.Equal(t, uint64(3), stats.Duplicated)
	require.Equal(t, stats.Entered+stats.Duplicated, stats.Passed)
	got, _ = run(t, 1, udptest.Faults{Duplicate: 0.2}, 10000, 4, time.Millisecond)
	require.Equal(t, 11892, len(got))
}

func TestLatencyDelaysAndJitterSpreads(t *testing.T) {
	got, _ := run(t, 1, udptest.Faults{Latency: 40 * time.Millisecond}, 3, 4, time.Second)
	require.Equal(t, []arrival{{1, 40 * time.Millisecond, 4}, {2, 1040 * time.Millisecond, 4}, {3, 2040 * time.Millisecond, 4}}, got)

	got, _ = run(t, 1, udptest.Faults{Latency: 40 * time.Millisecond, Jitter: 20 * time.Millisecond}, 10000, 4, time.Millisecond)
	require.Len(t, got, 10000)
	require.False(t, slices.IsSorted(numbers(got)), "some overtake others")
	least, most, sum := time.Hour, time.Duration(0), time.Duration(0)
	for _, a := range got {
		took := a.at - time.Duration(a.number-1)*time.Millisecond
		least, most, sum = min(least, took), max(most, took), sum+took
	}
	require.Equal(t, "40.0020 59.9960 50.0245", fmt.Sprintf("%.4f %.4f %.4f", ms(least), ms(most), ms(sum)/10000))

	got, _ = run(t, 1, udptest.Faults{Jitter: 20 * time.Millisecond, Ordered: true}, 10000, 4, time.Millisecond)
	require.Equal(t, upTo(10000), numbers(got), "none overtakes another")
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func TestReorderHoldsSomeBack(t *testing.T) {
	f := udptest.Faults{Latency: 10 * time.Millisecond, Reorder: 0.1, ReorderBy: 2500 * time.Microsecond}
	got, stats := run(t, 1, f, 10000, 4, time.Millisecond)
	late := uint64(0)
	for _, a := range got {
		switch took := a.at - time.Duration(a.number-1)*time.Millisecond; took {
		case 10 * time.Millisecond:
		case 12500 * time.Microsecond:
			late++
		default:
			t.Fatal(a.number, "took", took)
		}
	}
	require.False(t, slices.IsSorted(numbers(got)))
	require.Equal(t, uint64(1043), late)
	require.Equal(t, late, stats.Delayed)
}

func TestRateSpacesDatagramsOut(t *testing.T) {
	// 972 bytes and 28 of headers at 8000 bit/s take a second each.
	f := udptest.Faults{Rate: 8000}
	got, _ := run(t, 1, f, 3, 972, 0)
	require.Equal(t, []arrival{{1, 1 * time.Second, 972}, {2, 2 * time.Second, 972}, {3, 3 * time.Second, 972}}, got)

	f.Depth = 2000 // two of them at once
	got, _ = run(t, 1, f, 4, 972, 0)
	at := make([]time.Duration, len(got))
	for i := range got {
		at[i] = got[i].at
	}
	require.Equal(t, []time.Duration{0, 0, time.Second, 2 * time.Second}, at)

	f = udptest.Faults{Rate: 8000, Queue: 3000}
	got, stats := run(t, 1, f, 10, 972, 0)
	require.Equal(t, []int{1, 2, 3}, numbers(got), "no room for more")
	require.Equal(t, uint64(7), stats.Overflowed)
}

func TestMTU(t *testing.T) {
	got, stats := run(t, 1, udptest.Faults{MTU: 128, BlackHole: true}, 1, 100, 0)
	require.Len(t, got, 1, "128 with headers")
	require.Zero(t, stats.TooBig)
	got, stats = run(t, 1, udptest.Faults{MTU: 127, BlackHole: true}, 1, 100, 0)
	require.Empty(t, got)
	require.Equal(t, uint64(1), stats.TooBig)

	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1", "fd00::1"), n.Host("b", "10.0.0.2", "fd00::2")
		for _, silent := range []bool{true, false} {
			b.In().Set(udptest.Faults{MTU: 1280, BlackHole: silent})
			for to, room := range map[string]int{"10.0.0.2:9": 1252, "[fd00::2]:9": 1232} {
				q := udp.NewQueue(10, udp.Block)
				c := dial(t, on(a), "udp", to, q)
				require.NoError(t, c.Send(make([]byte, room+1)))
				time.Sleep(time.Second)
				synctest.Wait()
				if silent {
					require.Empty(t, q.Refusals(), "a black hole says nothing")
					continue
				}
				r := <-q.Refusals()
				require.Equal(t, 1280, r.MTU)
				require.Equal(t, c.RemoteAddrPort(), r.Peer)
				require.ErrorContains(t, r, "message too long")
			}
		}
		// Now the host knows it, and sends fragments, or does not send.
		q := udp.NewQueue(10, udp.Block)
		listen(t, on(b), "udp", ":7", q)
		c := dial(t, on(a), "udp", "10.0.0.2:7", q)
		require.NoError(t, c.Send(make([]byte, 5000)))
		require.Len(t, (<-q.Datagrams()).Data, 5000)
		cfg := on(a)
		cfg.MTUDiscovery = udp.MTUDiscoveryDo
		c = dial(t, cfg, "udp", "10.0.0.2:7", udp.BaseHandler{})
		require.NoError(t, c.Send(make([]byte, 1252)))
		var tooLarge *udp.SizeError
		require.ErrorAs(t, c.Send(make([]byte, 1253)), &tooLarge)
		require.Equal(t, 1280, tooLarge.MTU)
		time.Sleep(10 * time.Minute) // for so long
		require.NoError(t, c.Send(make([]byte, 1253)))
	})
}

func TestCorruptionTurnsOneBitOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		a.Out().Set(udptest.Faults{Corrupt: 0.5})
		q := udp.NewQueue(2000, udp.Block)
		listen(t, on(b), "udp", ":7", q)
		c := dial(t, on(a), "udp", "b:7", udp.BaseHandler{})
		zeros, turned, places := make([]byte, 8), 0, make(map[int]bool)
		for range 1000 {
			require.NoError(t, c.Send(zeros))
			d := <-q.Datagrams()
			if v := binary.BigEndian.Uint64(d.Data); v != 0 {
				require.Equal(t, 1, bits.OnesCount64(v))
				turned++
				places[bits.LeadingZeros64(v)] = true
			}
		}
		require.Equal(t, 518, turned)
		require.Equal(t, uint64(518), a.Out().Stats().Corrupted)
		require.Len(t, places, 64)
		require.Equal(t, make([]byte, 8), zeros, "the sender's bytes stay")
		require.NoError(t, c.Send(nil))
		require.Empty(t, (<-q.Datagrams()).Data)
	})
}

func TestWrongFaultsFailAtOnce(t *testing.T) {
	n := udptest.NewNet(nil, udptest.Config{})
	a := n.Host("a", "10.0.0.1")
	for want, f := range map[string]udptest.Faults{
		"Loss is a probability and not from 0 to 1: 1.5":    {Loss: 1.5},
		"Loss is a probability and not from 0 to 1: NaN":    {Loss: math.NaN()},
		"Duplicate is a probability and not from 0 to 1: -": {Duplicate: -0.1},
		"Burst.End is a probability":                        {Burst: udptest.Burst{End: 2}},
		"Burst.Bad has no effect without Burst.Begin":       {Burst: udptest.Burst{Bad: 1}},
		"Latency is negative: -1s":                          {Latency: -time.Second},
		"Exact.Lost is 2, more than Exact.Of: 1":            {Exact: udptest.Exact{Lost: 2, Of: 1}},
		"Reorder needs ReorderBy":                           {Reorder: 0.1},
		"have no effect without Rate":                       {Queue: 10},
		"the minimum is 68":                                 {MTU: 67},
		"BlackHole has no effect without MTU":               {BlackHole: true},
		"Ordered contradicts Reorder":                       {Ordered: true, Jitter: 1, Reorder: 0.1, ReorderBy: 1},
		"Ordered has no effect without Jitter":              {Ordered: true},
		"ReorderBy has no effect without Reorder":           {ReorderBy: 1},
		"Exact.Lost is 0 of 3":                              {Exact: udptest.Exact{Of: 3}},
		"Burst has no effect without Burst.Good":            {Burst: udptest.Burst{Begin: 0.1, End: 0.1}},
		"Jitter is longer than":                             {Jitter: math.MaxInt64},
		"Latency is longer than":                            {Latency: math.MaxInt64},
	} {
		require.ErrorContains(t, f.Validate(), want)
		require.PanicsWithError(t, f.Validate().Error(), func() { a.Out().Set(f) })
		require.PanicsWithError(t, f.Validate().Error(), func() { udptest.NewNet(nil, udptest.Config{Faults: f}) })
	}
	require.NoError(t, udptest.Faults{}.Validate())
}
