package group_test

import (
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
)

// The flows of a killed process move to the group that has joined the port. Datagrams queued for
// it are lost, so the test sends none meanwhile.
func TestAKilledProcessLeavesItsFlows(t *testing.T) {
	steerings(t, func(t *testing.T, how func(func())) {
		var steering string
		how(func() { steering = listen(t, udp.Config{}, 1, "udp4", "127.0.0.1:0").Steering().String() })
		p := start(t, steering, "127.0.0.1:0")
		c := newClients(t, 100, netip.MustParseAddrPort(p.address))
		c.round()
		next := start(t, steering, p.address)
		require.NoError(t, p.Process.Kill())
		require.Error(t, p.Wait())
		first := c.round()
		assert.Equal(t, first, c.round(), "flows stay where they are now")
		next.end(t)
	})
}

// In a sandbox that forbids BPF programs a Group works with the kernel's hash.
func TestWithoutPrograms(t *testing.T) {
	var g *udp.Group
	var err error
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked, so that the thread ends with its filter
		if err := forbidPrograms(); err != nil {
			done <- err
			return
		}
		g, err = udp.Config{}.ListenGroup(t.Context(), 3, "udp4", "127.0.0.1:0", member)
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Skip("no seccomp: ", err)
	}
	require.NoError(t, err)
	if len(g.Conns()) == 1 {
		shutdown(t, g)
		t.Skip("there is a single socket")
	}
	assert.Equal(t, udp.SteeringHash, g.Steering())
	c := newClients(t, 100, g.LocalAddrPort())
	c.round()
	stop := c.steadily(perSecond)
	shutdown(t, g.Conns()[0])
	shutdown(t, g.Conns()[2])
	stop()
	for _, by := range c.round() {
		require.Equal(t, 1, by)
	}
	shutdown(t, g)
	<-g.Done()
}

// forbidPrograms makes bpf(2) and SO_ATTACH_REUSEPORT_CBPF and _EBPF fail in this thread. It
// reads the lower halves of the arguments, so it is for little-endian machines.
func forbidPrograms() error {
	if runtime.GOARCH == "386" {
		return errors.New("socketcall(2) does not show a filter which option is set")
	}
	const nr, argument2 = 0, 16 + 2*8 // of struct seccomp_data
	deny := uint32(unix.SECCOMP_RET_ERRNO | unix.EPERM)
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: nr},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_BPF, Jt: 4},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SETSOCKOPT, Jf: 4},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: argument2},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SO_ATTACH_REUSEPORT_CBPF, Jt: 1},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SO_ATTACH_REUSEPORT_EBPF, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: deny},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}

// Members and groups may be closed and shut down on any goroutine at any time.
func TestCloseDuringLeave(t *testing.T) {
	steerings(t, func(t *testing.T, how func(func())) {
		for range 10 {
			var g, next *udp.Group
			how(func() { g = listen(t, udp.Config{}, 4, "udp4", "127.0.0.1:0") })
			how(func() { next = listen(t, udp.Config{}, 4, "udp4", g.LocalAddrPort().String()) })
			var ending sync.WaitGroup
			for i, c := range g.Conns() {
				ending.Go(func() { _ = c.Shutdown(t.Context()) })
				if i%2 == 0 {
					ending.Go(func() { _ = c.Close() })
				}
			}
			ending.Go(func() { _ = g.Shutdown(t.Context()) })
			ending.Go(func() { _ = g.Close() })
			ending.Wait()
			<-g.Done()
			assert.NoError(t, g.Err())
			newClients(t, 20, next.LocalAddrPort()).round()
		}
	})
}
