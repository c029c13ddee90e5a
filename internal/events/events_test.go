package events_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/events"
)

func TestEventsRunInOrderAndOnce(t *testing.T) {
	var q events.Queue
	q.Init()
	var ran []int
	q.Post(func() { ran = append(ran, 1); q.Post(func() { ran = append(ran, 3) }) })
	require.True(t, q.PostReport(func() { ran = append(ran, 2) }))
	for q.Waiting() {
		for _, f := range q.Take() {
			f()
		}
	}
	require.Equal(t, []int{1, 2, 3}, ran)
	require.Zero(t, q.End())
}

func TestASignalWaits(t *testing.T) {
	var q events.Queue
	q.Init()
	q.Signal()
	q.Signal()
	<-q.Signaled
	require.Empty(t, q.Signaled)
}

func TestReportsAreBounded(t *testing.T) {
	var q events.Queue
	q.Init()
	for range events.MaxReports {
		require.True(t, q.PostReport(func() {}))
	}
	require.False(t, q.PostReport(func() {}))
	q.Take()[0]()
	require.True(t, q.PostReport(func() {}), "one has run")
	require.Equal(t, events.MaxReports, q.End())
	require.False(t, q.PostReport(func() {}), "nobody hears of it")
}
