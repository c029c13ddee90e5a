package main

import (
	"bytes"
	"flag"
	"runtime"
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The budget is of processor time: how long it takes depends on what else is going on.
var (
	scale  = flag.Bool("scale", false, "let 10,000 nodes gossip for ten virtual minutes")
	budget = flag.Duration("budget", 0, "how much processor time that may take; 0: any")
)

// TestTenThousandNodes is for what docs/testing.md says:
//
//	go test ./udptest/gossip -run TenThousand -args -scale -budget 150s
func TestTenThousandNodes(t *testing.T) {
	if !*scale {
		t.Skip("without -scale")
	}
	s, err := parse(nil, nil)
	require.NoError(t, err)
	most, done, watched := uint64(0), make(chan struct{}), make(chan struct{})
	go func() { // outside the bubble, in real time
		defer close(watched)
		for tick := time.NewTicker(100 * time.Millisecond); ; {
			select {
			case <-tick.C:
				most = max(most, inUse())
			case <-done:
				tick.Stop()
				return
			}
		}
	}()
	var out bytes.Buffer
	began, used := time.Now(), processorTime()
	synctest.Test(t, func(t *testing.T) { require.NoError(t, simulate(s, &out)) })
	took := time.Since(began)
	used = processorTime() - used
	close(done)
	<-watched
	t.Logf("%v on %d cores, %v of processor time, %d MB at the most\n%s", took, runtime.GOMAXPROCS(0), used, most>>20, &out)
	require.Contains(t, out.String(), "a crash is suspected: known to 9999 of 9999")
	require.Contains(t, out.String(), "a new member is known: known to 9999 of 9999")
	require.Less(t, most, uint64(1<<30))
	if *budget > 0 {
		require.NotZero(t, used, "this system does not report processor time")
		require.Less(t, used, *budget)
	}
}

// inUse is what the process has from the system and has not given back.
func inUse() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}
