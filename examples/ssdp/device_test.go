package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

func TestAnswersAreSpreadOverTheTimeThatWasAllowed(t *testing.T) {
	var out strings.Builder
	group := netip.MustParseAddrPort("239.255.255.250:1900")
	ask := func(mx string) udp.Datagram {
		return udptest.Datagram(udptest.Header{From: netip.MustParseAddrPort("192.0.2.2:1234"), To: group},
			message("M-SEARCH * HTTP/1.1", "HOST", group.String(), "MAN", `"ssdp:discover"`, "MX", mx, "ST", "ssdp:all"))
	}
	for _, test := range []struct {
		name  string
		mx    string
		delay time.Duration
		most  time.Duration
	}{
		{"as long as who asks allows", "2", time.Hour, 2 * time.Second},
		{"never more than five seconds", "100000", time.Hour, 5 * time.Second},
		{"not longer than the device likes", "5", time.Second, time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &root{settings: settings{group: group, uuid: "1", delay: test.delay}, names: []string{"upnp:rootdevice", "uuid:1"}, out: &out}
			before := time.Now()
			for range mostPending { // two answers each
				r.hear(ask(test.mx))
			}
			after := time.Now()
			require.Len(t, r.pending, mostPending, "no flood of searches fills the memory")
			require.True(t, slices.IsSortedFunc(r.pending, func(a, b pending) int { return a.at.Compare(b.at) }))
			first, last := r.pending[0].at, r.pending[mostPending-1].at
			require.False(t, first.Before(before))
			require.False(t, last.After(after.Add(test.most)))
			// The chance that a thousand fall into one half of the time is below 2^-900.
			require.Greater(t, last.Sub(first), test.most/2-after.Sub(before))

			r.answer(before.Add(-1))
			require.Len(t, r.pending, mostPending)
			r.answer(last)
			require.Empty(t, r.pending)
		})
	}
}

func TestMatches(t *testing.T) {
	for _, test := range []struct{ name, target, as string }{
		{"urn:a:device:b:2", "urn:a:device:b:2", "urn:a:device:b:2"},
		{"urn:a:device:b:2", "urn:a:device:b:1", "urn:a:device:b:1"},
		{"urn:a:device:b:2", "urn:a:device:b:3", ""},
		{"urn:a:device:b:2", "urn:a:device:b:0", ""},
		{"urn:a:device:b:2", "urn:a:device:b:-1", ""},
		{"urn:a:device:b:2", "urn:a:device:b:x", ""},
		{"urn:a:device:b:2", "urn:a:device:b", ""},
		{"urn:a:device:b:2", "urn:a:device:c:1", ""},
		{"urn:a:device:b:2", "ssdp:all", "urn:a:device:b:2"},
		{"upnp:rootdevice", "upnp:rootdevice", "upnp:rootdevice"},
		{"uuid:5", "uuid:4", ""},
		{"uuid:5", "", ""},
	} {
		as, ok := matches(test.name, test.target)
		require.Equal(t, test.as, as, "%v", test)
		require.Equal(t, test.as != "", ok, "%v", test)
	}
}
