package ecosystem

import (
	"context"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// iceAgent returns an agent of a place, on one socket by a UDPMux.
func iceAgent(t *testing.T, at place) (*ice.Agent, *ice.UDPMuxDefault) {
	t.Helper()
	m := ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: at.listen(t)})
	a, err := ice.NewAgentWithOptions(
		ice.WithUDPMux(m),
		ice.WithNetworkTypes([]ice.NetworkType{ice.NetworkTypeUDP4}),
		ice.WithCandidateTypes([]ice.CandidateType{ice.CandidateTypeHost}),
		ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled),
		ice.WithIncludeLoopback(),
		ice.WithKeepaliveInterval(time.Second),
	)
	require.NoError(t, err)
	return a, m
}

// gather makes each candidate of an agent known to the other one.
func gather(t *testing.T, from, to *ice.Agent) {
	t.Helper()
	all := make(chan struct{})
	require.NoError(t, from.OnCandidate(func(c ice.Candidate) {
		if c == nil {
			close(all)
			return
		}
		remote, err := ice.UnmarshalCandidate(c.Marshal())
		if assert.NoError(t, err) {
			assert.NoError(t, to.AddRemoteCandidate(remote))
		}
	}))
	require.NoError(t, from.GatherCandidates())
	<-all
}

func TestICE(t *testing.T) {
	everywhere(t, func(t *testing.T, server, client place) {
		a, am := iceAgent(t, server)
		b, bm := iceAgent(t, client)
		gather(t, a, b)
		gather(t, b, a)
		aUfrag, aPwd, err := a.GetLocalUserCredentials()
		require.NoError(t, err)
		bUfrag, bPwd, err := b.GetLocalUserCredentials()
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c, err := a.Accept(ctx, bUfrag, bPwd)
			if assert.NoError(t, err) {
				echo(c)
			}
		}()
		c, err := b.Dial(ctx, aUfrag, aPwd)
		require.NoError(t, err)
		for range 20 {
			converse(t, c, "hello")
		}
		require.NoError(t, b.GracefulClose())
		require.NoError(t, a.GracefulClose())
		<-ended
		require.NoError(t, bm.Close())
		require.NoError(t, am.Close())
	})
}
