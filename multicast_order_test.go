package udp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sockettest"
)

// willing is a network where every group can be joined at no cost, so that what
// is measured is the toolkit.
type willing struct {
	*sockettest.Scripted
	ifs []socket.Interface
}

func newWilling(interfaces int) *willing {
	w := &willing{Scripted: sockettest.NewScripted()}
	for i := range interfaces {
		w.ifs = append(w.ifs, socket.Interface{
			Interface: net.Interface{Index: i + 1, Name: fmt.Sprint("eth", i), Flags: net.FlagUp | net.FlagRunning | net.FlagMulticast},
			Addrs:     []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 1}), 24)},
		})
	}
	return w
}

func (w *willing) Open(context.Context, string, netip.AddrPort, socket.Options) (socket.Socket, error) {
	return w, nil
}
func (w *willing) Join(netip.Addr, netip.Addr, int) error  { return nil }
func (w *willing) Leave(netip.Addr, netip.Addr, int) error { return nil }
func (w *willing) Interfaces() ([]socket.Interface, error) { return w.ifs, nil }
func (w *willing) Watch(func()) (stop func(), err error)   { return func() {}, nil }

// diary is a willing network that records the calls to it, in order. It is of both
// families, and fails the calls that a test wants to fail.
type diary struct {
	*willing
	family socket.Family
	refuse func(note string) error

	mu      sync.Mutex
	notes   []string
	options map[string]int
}

func newDiary(family socket.Family) *diary {
	d := &diary{willing: newWilling(2), family: family, options: map[string]int{}}
	d.Scripted.OnSend = func(m socket.Message) error {
		return d.note(fmt.Sprintf("send %s by %d", m.Data, m.IfIndex))
	}
	return d
}

func (d *diary) note(what string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notes = append(d.notes, what)
	if d.refuse != nil {
		return d.refuse(what)
	}
	return nil
}

func (d *diary) Open(context.Context, string, netip.AddrPort, socket.Options) (socket.Socket, error) {
	return d, nil
}

func (d *diary) Info() socket.Info { return socket.Info{Family: d.family} }

func (d *diary) SetMulticast(o socket.MulticastOption, v6 bool, value int) error {
	err := d.note(fmt.Sprintf("set %d of IPv%d to %d", o, map[bool]int{false: 4, true: 6}[v6], value))
	if err == nil {
		d.options[fmt.Sprint(o, v6)] = value
	}
	return err
}

func (d *diary) Multicast(o socket.MulticastOption, v6 bool) (int, error) {
	return d.options[fmt.Sprint(o, v6)], nil
}

// inReceived runs f in Received, while another datagram of the read waits, and
// returns the calls to the network.
func (d *diary) inReceived(t *testing.T, f func(m *udp.MulticastConn)) []string {
	t.Helper()
	h := &sockettest.Funcs{OnReceived: func(c *udp.Conn, got udp.Datagram) {
		if string(got.Data) == "first" {
			m, _ := c.Multicast()
			f(m)
		}
	}}
	m, err := udp.Config{Network: d}.ListenMulticast(t.Context(), "udp", ":0", h)
	require.NoError(t, err)
	t.Cleanup(func() { sockettest.Stop(t, m) })
	d.Arrive("first", "and more")
	synctest.Wait()
	sockettest.Stop(t, m)
	sockettest.CountersAgree(t, m.Stats())
	return d.notes
}

// What a Handler sends waits for the rest of its read, but not until the socket's
// options are others, and SendGroup does not wait: each of its results is one.
func TestWhatIsGatheredLeavesFirst(t *testing.T) {
	group := netip.MustParseAddrPort("239.1.2.3:4")
	for _, test := range []struct {
		name string
		do   func(t *testing.T, d *diary, m *udp.MulticastConn)
		want []string
	}{
		{"SetMulticastTTL", func(t *testing.T, _ *diary, m *udp.MulticastConn) { require.NoError(t, m.SetMulticastTTL(7)) },
			[]string{"send old by 0", "set 0 of IPv4 to 7", "send new by 0"}},
		{"SetMulticastLoopback", func(t *testing.T, _ *diary, m *udp.MulticastConn) { require.NoError(t, m.SetMulticastLoopback(true)) },
			[]string{"send old by 0", "set 1 of IPv4 to 1", "send new by 0"}},
		{"SetMulticastInterface", func(t *testing.T, d *diary, m *udp.MulticastConn) {
			require.NoError(t, m.SetMulticastInterface(&d.ifs[1].Interface))
		}, []string{"send old by 0", "set 2 of IPv4 to 2", "send new by 0"}},
		{"SendGroup", func(t *testing.T, d *diary, m *udp.MulticastConn) {
			d.refuse = func(note string) error {
				if note == "send both by 2" {
					return syscall.EPERM
				}
				return nil
			}
			sent, err := m.SendGroup([]byte("both"), group.Addr(), group.Port())
			require.NoError(t, err)
			require.Len(t, sent, 2)
			require.NoError(t, sent[0].Err)
			require.ErrorIs(t, sent[1].Err, syscall.EPERM)
			require.EqualValues(t, 1, m.Stats().SendErrors)
		}, []string{"send old by 0", "send both by 1", "send both by 2", "send new by 0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDiary(socket.IPv4)
				notes := d.inReceived(t, func(m *udp.MulticastConn) {
					require.NoError(t, m.SendTo([]byte("old"), group))
					test.do(t, d, m)
					require.NoError(t, m.SendTo([]byte("new"), group))
				})
				require.Equal(t, test.want, slices.Compact(notes), "but what failed may be tried again")
			})
		})
	}
}

// An option that one family refuses stays what it was for the other.
func TestOptionsOfBothFamiliesOrNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary(socket.Dual)
		m, err := udp.Config{Network: d}.ListenMulticast(t.Context(), "udp", ":0", udp.BaseHandler{})
		require.NoError(t, err)
		defer sockettest.Stop(t, m)
		set := []func(second bool) error{
			func(second bool) error { return m.SetMulticastTTL(map[bool]int{false: 3, true: 9}[second]) },
			func(second bool) error { return m.SetMulticastLoopback(!second) },
			func(second bool) error {
				return m.SetMulticastInterface(&d.ifs[map[bool]int{true: 1}[second]].Interface)
			},
		}
		for _, f := range set {
			require.NoError(t, f(false))
		}
		before := fmt.Sprint(d.options)
		d.refuse = func(note string) error {
			if strings.Contains(note, "IPv6") {
				return syscall.EPERM
			}
			return nil
		}
		for _, f := range set {
			require.ErrorIs(t, f(true), syscall.EPERM)
		}
		require.Equal(t, before, fmt.Sprint(d.options))
		ifi, err := m.MulticastInterface()
		require.NoError(t, err)
		require.Equal(t, d.ifs[0].Name, ifi.Name)
	})
}

// What nobody can keep out is not blocked in silence.
func TestBlockSourceWhereNobodyCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary(socket.IPv4) // which does not report destinations
		group := netip.MustParseAddr("239.1.2.3")
		m, err := udp.Config{Network: d}.ListenMulticast(t.Context(), "udp", ":0", udp.BaseHandler{}, group)
		require.NoError(t, err)
		defer sockettest.Stop(t, m)
		err = m.BlockSource(group, netip.MustParseAddr("10.0.0.9"))
		sockettest.RequireOpError(t, err, "block")
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.Empty(t, m.Memberships()[0].Blocked)
	})
}

// blocking is a diary whose system can keep sources out.
type blocking struct{ *diary }

func (b blocking) Open(context.Context, string, netip.AddrPort, socket.Options) (socket.Socket, error) {
	return b, nil
}

func (b blocking) Block(_, _ netip.Addr, index int, on bool) error {
	return b.note(fmt.Sprintf("block on %d: %v", index, on))
}

// Where the system does not report the destination of a datagram, the system must block the
// source itself, on every interface. Otherwise BlockSource fails and nothing is blocked. This
// also applies while the group is joined on no interface.
func TestASourceIsBlockedByTheSystemOrNotAtAll(t *testing.T) {
	group, source := netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("10.0.0.9")
	for _, test := range []struct {
		name   string
		able   bool // to block at all
		alone  bool // the source is joined by itself too
		left   bool // on all interfaces
		refuse map[string]error
		err    error
		want   []string
	}{
		{name: "it can", able: true, want: []string{"block on 1: true", "block on 2: true"}},
		{name: "it can't", err: errors.ErrUnsupported},
		{name: "it can't, and nothing is joined", left: true, err: errors.ErrUnsupported},
		{name: "it has the call, but can't, and nothing is joined", able: true, left: true, err: errors.ErrUnsupported,
			refuse: map[string]error{"block on 0: true": errors.ErrUnsupported}, want: []string{"block on 0: true"}},
		{name: "it could, if something was joined", able: true, left: true,
			refuse: map[string]error{"block on 0: true": syscall.EADDRNOTAVAIL}, want: []string{"block on 0: true"}},
		{name: "it refuses on one", able: true, err: syscall.ENOBUFS,
			refuse: map[string]error{"block on 2: true": syscall.ENOBUFS},
			want:   []string{"block on 1: true", "block on 2: true", "block on 1: false"}},
		{name: "it is joined by itself", able: true, alone: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDiary(socket.IPv4)
				d.refuse = func(note string) error { return test.refuse[note] }
				var network udp.Network = d
				if test.able {
					network = blocking{d}
				}
				m, err := udp.Config{Network: network}.ListenMulticast(t.Context(), "udp", ":0", udp.BaseHandler{}, group)
				require.NoError(t, err)
				defer sockettest.Stop(t, m)
				if test.left {
					require.NoError(t, m.Leave(group, &d.ifs[0].Interface, &d.ifs[1].Interface))
				}
				if test.alone {
					require.NoError(t, m.JoinSource(group, source))
				}
				err = m.BlockSource(group, source)
				require.ErrorIs(t, err, test.err)
				require.Equal(t, test.want, d.notes)
				blocked := m.Memberships()[0].Blocked
				if test.err != nil {
					sockettest.RequireOpError(t, err, "block")
					require.Empty(t, blocked)
					require.ErrorIs(t, m.UnblockSource(group, source), syscall.EADDRNOTAVAIL)
					return
				}
				require.NoError(t, err)
				require.Equal(t, []netip.Addr{source}, blocked)
			})
		})
	}
}
