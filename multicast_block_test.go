package udp_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sockettest"
)

// blocking is a diary whose system can keep sources out.
type blocking struct{ *diary }

func (b blocking) Open(context.Context, string, netip.AddrPort, socket.Options) (socket.Socket, error) {
	return b, nil
}

func (b blocking) Block(_, _ netip.Addr, index int, on bool) error {
	return b.note(fmt.Sprintf("block on %d: %v", index, on))
}

// Where the toolkit isn't told what a datagram was sent to, a source is blocked by the
// system on every interface, or not at all, and then BlockSource says why; also while
// the group is joined nowhere.
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

// A source is not blocked on what is left of an interface whose index another one has.
func TestBlockingLetsGoOfWhatHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group, source := netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("10.9.0.1")
		l := newLab(t, "udp4")
		require.NoError(t, l.m.Join(group))
		index := l.eth0.NetInterface().Index
		l.eth0.Remove()
		require.Equal(t, index, l.near.Attach(l.wifi, "wlan0", wifiAddrs...).NetInterface().Index)
		l.net.mu.Lock()
		l.net.calls = nil
		l.net.mu.Unlock()
		require.NoError(t, l.m.BlockSource(group, source))
		l.net.mu.Lock()
		require.Equal(t, []string{fmt.Sprint("leave ", index)}, l.net.calls)
		l.net.mu.Unlock()
		l.settled()
		require.Equal(t, "wlan0", l.on())
	})
}
