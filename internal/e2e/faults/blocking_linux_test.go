package faults_test

import (
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// File().Fd() makes all descriptors of a socket blocking. Adopted, it works like any other, and
// closing makes it blocking again for its other owners.
func TestAdoptOfABlockingSocket(t *testing.T) {
	for how, end := range sockettest.Endings {
		t.Run(how, func(t *testing.T) {
			uc := sockettest.Unowned(t, "udp4")
			f, err := uc.File()
			require.NoError(t, err)
			defer f.Close()
			fd := int(f.Fd())
			require.True(t, isBlocking(t, fd))
			h := sockettest.NewRecorder()
			c, err := udp.Config{}.Adopt(uc, h)
			require.NoError(t, err)
			h.Next(t, "Started")
			require.NoError(t, c.SendTo([]byte("self"), c.LocalAddrPort()))
			require.Equal(t, "self", h.Next(t, "Received").Data)
			ended := make(chan struct{})
			go func() { defer close(ended); end(t, c) }()
			sockettest.Next(t, ended)
			require.True(t, isBlocking(t, fd))
		})
	}
}

// A socket that another owner makes blocking after Adopt can still be closed.
func TestCloseOfASocketThatBecameBlocking(t *testing.T) {
	for how, end := range sockettest.Endings {
		t.Run(how, func(t *testing.T) {
			c := sockettest.Listen(t, udp.Config{}, "udp4", udp.BaseHandler{})
			if c.Info().Batch == 1 {
				t.Skip("package net reads, and waits in the kernel")
			}
			rc, err := c.SyscallConn()
			require.NoError(t, err)
			require.NoError(t, rc.Control(func(fd uintptr) { err = unix.SetNonblock(int(fd), false) }))
			require.NoError(t, err)
			ended := make(chan struct{})
			go func() { defer close(ended); end(t, c) }()
			sockettest.Next(t, ended)
		})
	}
}

func isBlocking(t *testing.T, fd int) bool {
	t.Helper()
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	require.NoError(t, err)
	return flags&unix.O_NONBLOCK == 0
}

// Adopting a connected socket needs two more descriptors. With fewer, Adopt fails, or the socket
// works.
func TestAdoptOfAConnectedSocketWithoutDescriptors(t *testing.T) {
	netns.Isolated(t, func() { // in a process of its own: the limit is for all its sockets
		for free := range 4 {
			peer := sockettest.ListenNet(t, "udp4")
			uc, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(sockettest.AddrPort(peer)))
			require.NoError(t, err)
			warm, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{}) // the poller has its own by now
			require.NoError(t, err)
			sockettest.Stop(t, warm)
			sockettest.Next(t, warm.Done())
			restore := leaveDescriptors(t, free)
			c, err := udp.Config{}.Adopt(uc, udp.BaseHandler{})
			restore()
			if err != nil {
				require.ErrorIs(t, err, syscall.EMFILE)
				_, err = uc.Write([]byte("x"))
				require.ErrorIs(t, err, net.ErrClosed, "Adopt owns it, also when it fails")
				continue
			}
			cc, ok := c.Connected()
			require.True(t, ok)
			u, err := cc.Disconnect()
			require.NoError(t, err)
			require.NoError(t, u.SendTo([]byte("free"), sockettest.AddrPort(peer)), "with %d descriptors", free)
			sockettest.Read(t, peer)
			sockettest.Stop(t, c)
			sockettest.Next(t, c.Done())
		}
	})
}

// leaveDescriptors lowers the limit so that n more can be opened.
func leaveDescriptors(t *testing.T, n int) (restore func()) {
	t.Helper()
	var old unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	var open []int
	for range 64 { // fills the gaps
		fd, err := unix.Dup(0)
		require.NoError(t, err)
		unix.CloseOnExec(fd)
		open = append(open, fd)
	}
	highest := open[len(open)-1]
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(highest + 1), Max: old.Max}))
	for range n {
		unix.Close(open[len(open)-1])
		open = open[:len(open)-1]
	}
	return func() {
		require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old))
		for _, fd := range open {
			unix.Close(fd)
		}
	}
}
