package life_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/life"
)

func TestOnlyOneWayOutOfRunning(t *testing.T) {
	var l life.Life
	l.Init()
	require.False(t, l.Closed())
	require.True(t, l.Enter(life.Draining))
	require.False(t, l.Enter(life.Detaching))
	require.Equal(t, life.Draining, l.Phase())
	for range 2 {
		l.Close()
		<-l.Closing()
		require.True(t, l.Closed())
	}
	require.False(t, l.Enter(life.Draining))
	l.End()
	<-l.Done()
}

func TestWorkIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w life.Work
		w.Wait(nil) // there is none
		w.Begin()
		w.Begin()
		waited := false
		go func() { w.Wait(nil); waited = true }()
		w.End()
		synctest.Wait()
		require.False(t, waited)
		w.End()
		synctest.Wait()
		require.True(t, waited)

		w.Begin()
		cut := make(chan struct{})
		close(cut)
		w.Wait(cut)
		require.EqualValues(t, 1, w.Left())
	})
}
