package buffer_test

import (
	"bytes"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/buffer"
)

// packet makes a buffer of n datagrams of size bytes, the last of which may be shorter,
// and a Lease of it.
func packet(n, size, last int) (b *buffer.Buffer, l *buffer.Lease, datagrams [][]byte) {
	b, l = buffer.Get(), new(buffer.Lease)
	data := b.B[:(n-1)*size+last]
	l.Init(b, data, size)
	for i := range n {
		d := data[i*size : min((i+1)*size, len(data))]
		copy(d, bytes.Repeat([]byte{byte(i)}, len(d)))
		datagrams = append(datagrams, d)
	}
	return b, l, datagrams
}

// free reports whether the caller's is the only reference to b.
func free(b *buffer.Buffer) bool { return b.Recycle() }

func TestALeaseKeepsItsBufferUntilTheLastRelease(t *testing.T) {
	for _, n := range []int{1, 2, 63, buffer.MaxLease} {
		for _, last := range []int{1, 10} {
			before := buffer.Live()
			b, l, ds := packet(n, 10, last)
			require.True(t, l.Holds())
			require.Same(t, b, l.Buffer())
			for _, d := range ds {
				l.Retain(d)
			}
			for i, d := range ds {
				require.False(t, free(b), "%d of %d are retained", n-i, n)
				l.Release(d)
			}
			require.True(t, free(b))
			b.Release(1)
			require.Equal(t, before, buffer.Live())
		}
	}
}

func TestALeaseOfOneDatagram(t *testing.T) {
	b, l := buffer.Of(5), new(buffer.Lease)
	l.Init(b, b.B[:5], 0)
	l.Retain(b.B[:5])
	require.False(t, free(b))
	l.Release(b.B[2:3]) // whatever was made of it
	require.True(t, free(b))
	l.Retain(nil)
	l.Release([]byte("replaced"))
	require.True(t, free(b))
	require.Panics(t, func() { l.Release(b.B[:5]) })
	b.Release(1)
}

func TestALeaseRetainsAllAtOnce(t *testing.T) {
	b, l, ds := packet(20, 3, 2)
	l.RetainAll(b, 20)
	b.Release(1) // the reader's
	for i, d := range ds {
		require.Equal(t, bytes.Repeat([]byte{byte(i)}, len(d)), d)
		l.Release(d)
		if i < 19 {
			require.Same(t, b, l.Buffer())
		}
	}
	require.Panics(t, func() { l.Release(ds[0]) }, "all are released")
}

// Whoever retains twice has to release twice; the datagrams beside it do not matter.
func TestALeaseCountsWhatIsRetainedTwice(t *testing.T) {
	b, l, ds := packet(3, 10, 10)
	for range 3 {
		l.Retain(ds[1])
	}
	l.Retain(ds[2])
	l.Release(ds[2])
	require.Panics(t, func() { l.Release(ds[2]) })
	require.Panics(t, func() { l.Release(ds[0]) })
	for range 2 {
		l.Release(ds[1])
		require.False(t, free(b))
	}
	l.Release(ds[1])
	require.True(t, free(b))
	require.Panics(t, func() { l.Release(ds[1]) })
	l.Retain(ds[1]) // also afterwards
	require.False(t, free(b))
	l.Release(ds[1])
	require.True(t, free(b))
	b.Release(1)
}

// A Release that comes too late finds its own Lease empty, and does not free the
// buffer that has been filled again meanwhile.
func TestALateReleaseDoesNotFreeABufferInUse(t *testing.T) {
	b, old, ds := packet(2, 10, 10)
	old.Retain(ds[0])
	old.Release(ds[0])
	fresh := new(buffer.Lease) // of the next read into the same buffer
	fresh.Init(b, b.B[:20], 10)
	fresh.Retain(ds[0])
	require.Panics(t, func() { old.Release(ds[0]) })
	require.Panics(t, func() { old.Release(ds[1]) })
	require.False(t, free(b), "the second one's")
	fresh.Release(ds[0])
	require.True(t, free(b))
	b.Release(1)
}

// Data that the owner has replaced, or shortened at its start, stands for one of
// those that are retained.
func TestALeaseOfDataThatWasReplaced(t *testing.T) {
	b, l, ds := packet(4, 10, 10)
	l.Retain(ds[1])
	l.Retain(ds[3])
	l.Release(ds[1][4:])
	require.False(t, free(b))
	l.Release([]byte("another"))
	require.True(t, free(b))
	require.Panics(t, func() { l.Release([]byte("another")) })
	require.Panics(t, func() { l.Release(nil) })
	b.Release(1)
}

func TestTheZeroLeaseDoesNothing(t *testing.T) {
	var l buffer.Lease
	require.False(t, l.Holds())
	require.Nil(t, l.Buffer())
	for range 2 {
		l.Retain([]byte("x"))
		l.Release([]byte("x"))
		l.Release(nil)
	}
}

// A datagram that nobody releases leaves its buffer to the garbage collector.
func TestALeaseDoesNotKeepABufferAlive(t *testing.T) {
	collected := make(chan struct{})
	l := new(buffer.Lease)
	func() {
		// Not a pooled one: the pool would keep it.
		b := buffer.Get()
		runtime.AddCleanup(b, func(ch chan struct{}) { close(ch) }, collected)
		l.Init(b, b.B[:10], 0)
		l.RetainAll(b, 1)
	}()
	for {
		runtime.GC()
		select {
		case <-collected:
			require.Nil(t, l.Buffer())
			require.NotPanics(t, func() { l.Release(nil) })
			return
		default:
		}
	}
}

// Consumers release, retain and release again at the same time; exactly one release
// is the last.
func TestALeaseIsSharedByGoroutines(t *testing.T) {
	for range 200 {
		before := buffer.Live()
		b, l, ds := packet(buffer.MaxLease, 16, 16)
		l.RetainAll(b, len(ds))
		b.Release(1)
		var all sync.WaitGroup
		for g := range 8 {
			all.Go(func() {
				for i := g; i < len(ds); i += 8 {
					l.Retain(ds[i])
					if i%3 == 0 {
						l.Retain(ds[i])
						l.Release(ds[i])
					}
					l.Release(ds[i])
					if ds[i][0] != byte(i) {
						t.Error("it was overwritten while it was retained")
					}
					l.Release(ds[i])
				}
			})
		}
		all.Wait()
		require.Equal(t, before, buffer.Live())
		require.Panics(t, func() { l.Release(ds[0]) })
	}
}

// The same datagram in many hands.
func TestADatagramIsSharedByGoroutines(t *testing.T) {
	for range 200 {
		b, l, ds := packet(2, 8, 8)
		l.Retain(ds[1])
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 10 {
					l.Retain(ds[1])
					l.Release(ds[1])
				}
			})
		}
		all.Wait()
		require.False(t, free(b))
		l.Release(ds[1])
		require.True(t, free(b))
		require.Panics(t, func() { l.Release(ds[1]) })
		b.Release(1)
	}
}
