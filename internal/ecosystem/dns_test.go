package ecosystem

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// answer answers every question with 192.0.2.1.
func answer(w dns.ResponseWriter, q *dns.Msg) {
	r := new(dns.Msg).SetReply(q)
	r.Answer = []dns.RR{&dns.A{
		Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET},
		A:   net.IPv4(192, 0, 2, 1),
	}}
	_ = w.WriteMsg(r)
}

// serveDNS starts a server of miekg/dns.
func serveDNS(t *testing.T, at place) net.Addr {
	t.Helper()
	c, started, ended := at.listen(t), make(chan struct{}), make(chan error, 1)
	s := &dns.Server{
		PacketConn:        c,
		NotifyStartedFunc: func() { close(started) },
		Handler:           dns.HandlerFunc(answer),
	}
	go func() { ended <- s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		assert.NoError(t, s.Shutdown())
		assert.NoError(t, <-ended)
	})
	return c.LocalAddr()
}

func TestDNS(t *testing.T) {
	everywhere(t, func(t *testing.T, server, client place) {
		conn := &dns.Conn{Conn: client.dial(t, serveDNS(t, server))}
		defer conn.Close()
		for range 100 {
			ask(t, client, conn)
		}
	})
}

// ask asks a question until it is answered.
func ask(t *testing.T, client place, conn *dns.Conn) {
	t.Helper()
	var c dns.Client
	q := new(dns.Msg).SetQuestion("example.org.", dns.TypeA)
	r, _, err := c.ExchangeWithConn(q, conn)
	for client.simulated && isTimeout(err) {
		r, _, err = c.ExchangeWithConn(q, conn) // a datagram was lost
	}
	require.NoError(t, err)
	require.Len(t, r.Answer, 1)
	require.Equal(t, "192.0.2.1", r.Answer[0].(*dns.A).A.String())
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

func TestResolver(t *testing.T) {
	// Package net makes a channel at the first look-up, which must not belong to a bubble.
	none := net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.ErrUnsupported
	}}
	_, err := none.LookupTXT(t.Context(), "host.invalid.")
	require.Error(t, err)

	everywhere(t, func(t *testing.T, server, client place) {
		to := serveDNS(t, server)
		r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return client.DialContext(ctx, "udp", to.String())
		}}
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			ips, err := r.LookupIP(ctx, "ip4", "example.org.")
			cancel()
			require.NoError(t, err)
			require.Len(t, ips, 1)
			require.Equal(t, "192.0.2.1", ips[0].String())
		}
	})
}
