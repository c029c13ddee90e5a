package main

import (
	"context"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// game runs the server on a simulated network.
func game(t *testing.T, f func(t *testing.T, dial func() (*udp.ConnectedConn, *udp.Queue)), wantOutput ...string) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{Seed: 1})
		server, client := n.Host("server", "10.0.0.1", "10.0.0.9"), n.Host("client", "10.0.0.2")
		ctx, cancel := context.WithCancel(context.Background())
		var out strings.Builder
		t.Cleanup(cancel)
		ended := make(chan error, 1)
		go func() { ended <- run(ctx, []string{"-players", "3"}, &out, server.Config()) }()
		synctest.Wait()
		f(t, func() (*udp.ConnectedConn, *udp.Queue) {
			q := udp.NewQueue(1, udp.DropOldest)
			c, err := client.Config().Dial(ctx, "udp", "10.0.0.9:7777", q)
			require.NoError(t, err)
			t.Cleanup(func() {
				c.Close()
				<-c.Done()
			})
			return c, q
		})
		cancel()
		require.NoError(t, <-ended)
		for _, text := range wantOutput {
			require.Contains(t, out.String(), text)
		}
	})
}

// state returns the places of players, by number, in the newest state.
func state(t *testing.T, q *udp.Queue) map[uint32][2]uint16 {
	time.Sleep(2 * tick) // what has been sent has arrived, and the next tick has come
	d := <-q.Datagrams()
	places := map[uint32][2]uint16{}
	for b := d.Data[4:]; len(b) >= 8; b = b[8:] {
		places[binary.BigEndian.Uint32(b)] = [2]uint16{binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])}
	}
	return places
}

func TestPlayersMove(t *testing.T) {
	game(t, func(t *testing.T, dial func() (*udp.ConnectedConn, *udp.Queue)) {
		a, qa := dial()
		require.NoError(t, a.Send([]byte{1, 0}))
		require.Len(t, state(t, qa), 1)
		b, qb := dial()
		require.NoError(t, b.Send([]byte{0, 255})) // upwards, over the edge
		before := state(t, qb)
		require.Len(t, before, 2)
		time.Sleep(10 * tick)
		after := state(t, qa)
		require.Greater(t, after[1][0], before[1][0])
		require.Zero(t, after[1][1])
		require.Zero(t, after[2][0])
		require.Greater(t, after[2][1], uint16(size-20))
		require.NoError(t, a.Send([]byte("what is this")))
		require.Len(t, state(t, qa), 2)
	}, "2 players, 0 went silent")
}

func TestPlayersLeave(t *testing.T) {
	game(t, func(t *testing.T, dial func() (*udp.ConnectedConn, *udp.Queue)) {
		a, qa := dial()
		b, _ := dial()
		c, _ := dial()
		for _, p := range []*udp.ConnectedConn{a, b, c} {
			require.NoError(t, p.Send([]byte{0, 0}))
			time.Sleep(tick)
		}
		require.Len(t, state(t, qa), 3)
		b.Close() // its host says so at the next tick
		time.Sleep(tick)
		require.Len(t, state(t, qa), 2)
		for range 6 { // and c goes silent
			time.Sleep(time.Second)
			require.NoError(t, a.Send([]byte{0, 0}))
		}
		require.Len(t, state(t, qa), 1)
	}, "3 players, 1 went silent")
}

func TestArguments(t *testing.T) {
	require.ErrorContains(t, run(t.Context(), []string{"-players", "-1"}, io.Discard, udp.Config{}), "MaxSessions is negative")
	require.Error(t, run(t.Context(), []string{"-listen", "nonsense"}, io.Discard, udp.Config{}))
}
