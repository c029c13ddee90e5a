package mcast

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/socket"
)

func present(index int, generation uint64, name string) socket.Interface {
	return socket.Interface{Interface: net.Interface{Index: index, Name: name}, Generation: generation}
}

// What a caller names is the interface of the index if it has the name, else the one of the
// name, else the one of the index; a name without an interface is kept, an index is not.
func TestRefer(t *testing.T) {
	now := []socket.Interface{present(1, 1, "lo"), present(2, 5, "eth0"), present(3, 7, "9")}
	for _, test := range []struct {
		zone  string
		ifs   []*net.Interface
		index int
		name  string
		err   bool
	}{
		{ifs: []*net.Interface{{Index: 2, Name: "eth0"}}, index: 2, name: "eth0"},
		{ifs: []*net.Interface{{Index: 1, Name: "eth0"}}, index: 2, name: "eth0"},
		{ifs: []*net.Interface{{Index: 2, Name: "renamed"}}, index: 2, name: "eth0"},
		{ifs: []*net.Interface{{Index: 2}}, index: 2, name: "eth0"},
		{ifs: []*net.Interface{{Index: 9, Name: "missing"}}, name: "missing"},
		{ifs: []*net.Interface{{Index: 9}}, err: true},
		{ifs: []*net.Interface{nil}, err: true},
		{zone: "eth0", index: 2, name: "eth0"},
		{zone: "2", index: 2, name: "eth0"},
		{zone: "9", index: 3, name: "9"},
		{zone: "missing", name: "missing"},
		{zone: "4711", err: true},
		{zone: "eth0", ifs: []*net.Interface{{Name: "lo"}}, index: 1, name: "lo"},
	} {
		refs, err := refer(now, test.zone, test.ifs)
		if test.err {
			require.Error(t, err, "%+v", test)
			continue
		}
		require.NoError(t, err, "%+v", test)
		require.Len(t, refs, 1)
		require.Equal(t, test.index, refs[0].index, "%+v", test)
		require.Equal(t, test.name, refs[0].name, "%+v", test)
	}
	refs, err := refer(now, "", nil)
	require.NoError(t, err)
	require.Empty(t, refs)
}

// A reference follows its interface to another name until that is removed, and then any
// interface of the last name.
func TestAReferenceFollowsItsInterface(t *testing.T) {
	refs, err := refer([]socket.Interface{present(2, 5, "eth0")}, "eth0", nil)
	require.NoError(t, err)
	ref := refs[0]
	for _, step := range []struct {
		now   []socket.Interface
		index int
		name  string
	}{
		{[]socket.Interface{present(2, 5, "eth0")}, 2, "eth0"},
		{[]socket.Interface{present(2, 5, "lan"), present(3, 6, "eth0")}, 2, "lan"},
		{[]socket.Interface{present(3, 6, "eth0")}, 0, "lan"},
		{[]socket.Interface{present(2, 8, "wlan")}, 0, "lan"},
		{[]socket.Interface{present(2, 8, "wlan"), present(4, 9, "lan")}, 4, "lan"},
		{[]socket.Interface{present(4, 10, "lan")}, 4, "lan"},
		{nil, 0, "lan"},
	} {
		before := ref
		found := ref.follow(step.now)
		require.Equal(t, step.index != 0, found != nil, "%+v", step)
		require.Equal(t, step.index, ref.index, "%+v", step)
		require.Equal(t, step.name, ref.name, "%+v", step)
		if step.index != 0 && before.index != 0 {
			require.Equal(t, before.generation == ref.generation, before.sameJoins(ref), "%+v", step)
		}
	}
	emptied := present(4, 10, "lan")
	emptied.Emptied++
	same := present(4, 10, "lan")
	require.False(t, refOf(&same).sameJoins(refOf(&emptied)), "its memberships are lost")
	require.True(t, refOf(&same).matches(refOf(&emptied)), "to the user it is the same")
	require.True(t, ifRef{name: "lan"}.matches(refOf(&same)))
	other := present(5, 11, "lan")
	require.False(t, refOf(&same).matches(refOf(&other)))
}
