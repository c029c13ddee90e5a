package session_test

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/session"
)

func TestSessionsOnTheKernel(t *testing.T) {
	ln, err := session.Listen(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer end(ln.Conn())
	c, err := net.Dial("udp", ln.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	write(t, c, "one")
	s := accept(t, ln)
	require.Equal(t, "one", read(t, s))
	write(t, s, "two")
	require.Equal(t, "two", read(t, c))
	require.Equal(t, c.LocalAddr().String(), s.RemoteAddr().String())
	require.Equal(t, c.RemoteAddr().String(), s.LocalAddr().String())

	require.NoError(t, s.SetReadDeadline(time.Now().Add(time.Millisecond)))
	require.ErrorIs(t, readError(t, s), os.ErrDeadlineExceeded)
	require.NoError(t, ln.Close())
	require.NoError(t, s.Close())
	<-ln.Conn().Done()
}

func TestADeadPeerFailsItsReadOnTheKernel(t *testing.T) {
	q := udp.NewQueue(1, udp.Block)
	if c, err := (udp.Config{PeerErrors: true}).Listen(t.Context(), "udp", "127.0.0.1:0", q); err != nil {
		require.ErrorIs(t, err, errors.ErrUnsupported)
		t.Skip(err)
	} else {
		end(c)
	}
	ln, err := session.Listen(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer end(ln.Conn())
	c, err := net.Dial("udp", ln.Addr().String())
	require.NoError(t, err)
	write(t, c, "one")
	s := accept(t, ln)
	read(t, s)
	require.NoError(t, c.Close())
	write(t, s, "anybody there?")
	require.NoError(t, s.SetReadDeadline(time.Now().Add(time.Minute)))
	require.ErrorIs(t, readError(t, s), syscall.ECONNREFUSED)
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	ln, err := session.Config{IdleTimeout: 20 * time.Millisecond, MaxSessions: 20, Backlog: 5}.Listen(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			s, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer s.Close()
				io.Copy(s, s)
			}()
			go func() {
				for i := range 20 {
					s.SetDeadline(time.Now().Add(time.Minute))
					s.LocalAddr()
					requireSaneCounters(t, ln.Stats())
					if i == 19 && ln.Stats().Received%7 == 0 {
						s.Close()
					}
				}
			}()
		}
	}()
	clients := make(chan struct{})
	for range 30 {
		go func() {
			defer func() { clients <- struct{}{} }()
			c, err := net.Dial("udp", ln.Addr().String())
			if err != nil {
				return
			}
			defer c.Close()
			for range 30 {
				c.Write([]byte("x"))
				c.SetReadDeadline(time.Now().Add(3 * time.Millisecond))
				c.Read(make([]byte, 10))
			}
		}()
	}
	for range 30 {
		<-clients
	}
	require.NoError(t, ln.Close())
	<-served
	<-ln.Conn().Done() // every session ends, at the latest when it has been idle
	requireAgreement(t, ln.Stats())
	require.Zero(t, ln.Stats().Active)
}

func requireSaneCounters(t *testing.T, s session.Stats) {
	if s.Delivered > s.Received {
		t.Errorf("%+v", s)
	}
}
