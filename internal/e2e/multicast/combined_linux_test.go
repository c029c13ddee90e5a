package multicast_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// Whatever is joined, blocked and left for one group, in any order, the kernel has one filter
// that accepts all of it, and only that is received and listed in Memberships. The same
// holds for a group on an overflow socket.
func TestMembershipsOfOneGroupAreCombined(t *testing.T) {
	netns.Run(t, func() {
		for _, f := range ipFamilies {
			for _, over := range []bool{false, true} {
				if over && f.one.Is6() { // there is no such limit
					continue
				}
				t.Run(fmt.Sprintf("%s, over the limit %v", f.network, over), func(t *testing.T) {
					here, there := linked(t)
					var others []netip.Addr
					if over {
						others = manyGroups(false, 20)
					}
					w := &oneGroup{t: t, ns: here, group: f.one, joined: map[netip.Addr]bool{}, blocked: map[netip.Addr]bool{},
						m: joinIn(t, here, udp.Config{}, f.network, ":0", others...), others: len(others)}
					near := netip.MustParseAddr("192.0.2.2")
					if f.one.Is6() {
						near = netip.MustParseAddr("2001:db8::2")
					}
					address(there, 3)
					sources := []netip.Addr{near, near.Next(), near.Next().Next()}
					w.senders = map[netip.Addr]*member{}
					for _, source := range sources[:2] {
						w.senders[source] = joinIn(t, there, udp.Config{}, f.network, netip.AddrPortFrom(source, 0).String())
					}
					for _, step := range "PABbpBPa" + "APBaXPxAXpb" + "PXYAxyYpPAB" {
						w.step(step, sources)
					}
					random := rand.New(rand.NewPCG(1, uint64(len(others))))
					for range 200 {
						w.step(rune("PpAaBbCcXxYyZz"[random.IntN(14)]), sources)
					}
				})
			}
		}
	})
}

// oneGroup joins, blocks and leaves one group, and knows what should result.
type oneGroup struct {
	t       *testing.T
	ns      *netns.NS
	m       *member
	others  int // groups
	group   netip.Addr
	senders map[netip.Addr]*member
	done    string // so far

	plain           bool
	joined, blocked map[netip.Addr]bool
}

// step joins (P) or leaves (p) the group, joins (A, B, C) or leaves (a, b, c) one of
// the sources, or blocks (X, Y, Z) or unblocks (x, y, z) it.
func (w *oneGroup) step(what rune, sources []netip.Addr) {
	w.t.Helper()
	w.done += string(what)
	ok := true
	var err error
	switch {
	case what == 'P':
		w.plain = true
		err = w.m.Join(w.group)
	case what == 'p':
		ok = w.plain
		w.plain = false
		clear(w.blocked)
		err = w.m.Leave(w.group)
	case what >= 'a' && what <= 'c':
		source := sources[what-'a']
		ok = w.joined[source]
		delete(w.joined, source)
		err = w.m.LeaveSource(w.group, source)
	case what >= 'A' && what <= 'C':
		source := sources[what-'A']
		w.joined[source] = true
		err = w.m.JoinSource(w.group, source)
	case what >= 'x':
		source := sources[what-'x']
		ok = w.blocked[source]
		delete(w.blocked, source)
		err = w.m.UnblockSource(w.group, source)
	default:
		source := sources[what-'X']
		if ok = w.plain; ok {
			w.blocked[source] = true
		}
		err = w.m.BlockSource(w.group, source)
	}
	if ok {
		require.NoError(w.t, err, w.done)
	} else {
		require.ErrorIs(w.t, err, syscall.EADDRNOTAVAIL, w.done)
	}
	w.check()
}

func (w *oneGroup) check() {
	w.t.Helper()
	eth := w.ns.Interface("eth")
	want, memberships := "none", len(w.joined)
	switch {
	case w.plain:
		memberships++
		out := maps.Clone(w.blocked)
		for source := range w.joined {
			delete(out, source)
		}
		want = fmt.Sprint("exclude ", sorted(out))
	case memberships > 0:
		want = fmt.Sprint("include ", sorted(w.joined))
	}
	require.Equal(w.t, want, kernelFilter(w.t, w.group, eth.Index), w.done)
	ms := w.m.Memberships()
	require.Len(w.t, ms, w.others+memberships, w.done)
	for _, m := range ms {
		require.True(w.t, heldOn("eth")(m), "%s: %+v", w.done, m)
	}
	// The last datagram, unicast, shows that nothing else was received before it.
	want = ""
	for _, source := range sorted(keys(w.senders)) {
		sender := w.senders[source]
		_, err := sender.SendGroup([]byte(source.String()), w.group, w.m.port(), sender.ns.Interface("eth"))
		require.NoError(w.t, err)
		if w.joined[source] || w.plain && !w.blocked[source] {
			want += source.String() + " "
		}
	}
	to := netip.AddrPortFrom(w.first().Prev(), w.m.port())
	require.NoError(w.t, w.senders[w.first()].SendTo([]byte("last"), to))
	for heard := ""; ; {
		data := string(sockettest.Next(w.t, w.m.queue.Datagrams()).Data)
		if data == "last" {
			require.Equal(w.t, want, heard, w.done)
			return
		}
		heard += data + " "
	}
}

// first returns the lower address of the two senders.
func (w *oneGroup) first() netip.Addr { return sorted(keys(w.senders))[0] }

func keys[V any](m map[netip.Addr]V) map[netip.Addr]bool {
	set := map[netip.Addr]bool{}
	for k := range m {
		set[k] = true
	}
	return set
}

func sorted(set map[netip.Addr]bool) []netip.Addr {
	return slices.SortedFunc(maps.Keys(set), netip.Addr.Compare)
}

// kernelFilter returns the filter that a socket of this process has for a group on an
// interface: its mode and its sources, in order.
func kernelFilter(t testing.TB, group netip.Addr, ifindex int) string {
	t.Helper()
	const (
		storage = 128 // struct sockaddr_storage
		room    = 64  // sources
		word    = unix.SizeofPtr
	)
	level := unix.IPPROTO_IP
	if group.Is6() {
		level = unix.IPPROTO_IPV6
	}
	es, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range es {
		fd, err := strconv.Atoi(e.Name())
		require.NoError(t, err)
		// struct group_filter of linux/in.h
		b := make([]byte, word+storage+8+room*storage)
		ne := binary.NativeEndian
		ne.PutUint32(b, uint32(ifindex))
		addr := func(b []byte) netip.Addr {
			if group.Is4() {
				return netip.AddrFrom4([4]byte(b[4:]))
			}
			return netip.AddrFrom16([16]byte(b[8:]))
		}
		if group.Is4() {
			ne.PutUint16(b[word:], unix.AF_INET)
			copy(b[word+4:], group.AsSlice())
		} else {
			ne.PutUint16(b[word:], unix.AF_INET6)
			copy(b[word+8:], group.AsSlice())
		}
		mode, sources := b[word+storage:], b[word+storage+8:]
		ne.PutUint32(mode[4:], room)
		size := uint32(len(b))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), unix.MCAST_MSFILTER,
			uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			continue // no socket, or no member
		}
		set := map[netip.Addr]bool{}
		for i := range int(ne.Uint32(mode[4:])) {
			set[addr(sources[i*storage:])] = true
		}
		return fmt.Sprint([]string{"exclude ", "include "}[ne.Uint32(mode)], sorted(set))
	}
	return "none"
}
