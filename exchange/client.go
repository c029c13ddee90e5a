package exchange

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/udpkit/udp"
)

// A Client sends requests and returns their responses. Its methods may be called from any
// goroutine; thousands of them may wait for responses at once.
type Client[K comparable] struct {
	cfg     Config[K]
	stats   counters
	budget  *rate.Limiter // of retransmissions
	closing context.Context
	cancel  context.CancelFunc

	pending pending[K]

	sockets sync.Mutex // guards shared and opened
	shared  *socket[K] // nil until it is needed
	opened  int        // shared sockets so far

	names names
}

// New returns a client. It opens no socket yet. Its error is a [*ConfigError].
func New[K comparable](cfg Config[K]) (*Client[K], error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Client[K]{cfg: cfg.withDefaults()}
	c.budget = rate.NewLimiter(rate.Limit(c.cfg.RetransmitRate), c.cfg.RetransmitBurst)
	c.closing, c.cancel = context.WithCancel(context.Background())
	c.pending.requests = map[K]*request[K]{}
	c.names = names{resolve: c.resolve, all: map[string]*name{}}
	return c, nil
}

// Close closes the client. Pending and later requests fail with [net.ErrClosed]; Close does not
// wait for them. Calling it again does nothing. It returns an error only for a Client that was
// not created by [New].
func (c *Client[K]) Close() error {
	if !c.made() {
		return errUnmade
	}
	c.cancel()
	c.sockets.Lock()
	defer c.sockets.Unlock()
	if c.shared != nil {
		c.shared.conn.Close()
	}
	return nil
}

// Stats returns the counters. It may be called at any time, also after Close.
func (c *Client[K]) Stats() Stats { return c.stats.stats() }

// Do sends a request to a server and returns the response, a datagram that needs no Release. The
// server is "host:port" as for [udp.Resolve]. The request is only read, and only until Do
// returns.
//
// Do sends the request again as Config.Schedule says. It accepts only a response that has the
// request's key and comes from the address that the request was sent to. It fails
//
//   - with a [*udp.Refusal], at once, when an ICMP error about this request arrives, so that the
//     next server can be asked;
//   - with a [*TimeoutError] when no response came to the last transmission;
//   - with ctx's error when ctx ends first, and its cause, if it has another one;
//   - with the error that prevented the first transmission, such as [udp.ErrTooLarge],
//     ENETUNREACH, or a [*net.DNSError];
//   - with [ErrNoKey], [ErrDuplicate], [ErrTooMany], or [net.ErrClosed] after Close.
//
// Each error comes in a [*net.OpError]; [errors.Is] and [errors.As] find it.
//
// The first request to a host name resolves it, and the client keeps the addresses. After a
// failed request, the next request to that name resolves it again and prefers an address that did
// not fail. If resolving fails, the client uses the old addresses.
func (c *Client[K]) Do(ctx context.Context, server string, request []byte) (udp.Datagram, error) {
	if !c.made() {
		return udp.Datagram{}, &net.OpError{Op: "exchange", Net: "udp", Err: errUnmade}
	}
	c.stats.requests.Add(1)
	c.stats.outstanding.Add(1)
	err := errPanicked // unless do returns
	defer func() {
		c.stats.outstanding.Add(-1)
		c.stats.ended(ctx, err)
	}()
	var to net.Addr
	d, peer, err := c.do(ctx, server, request)
	if err == nil {
		return d, nil
	}
	if peer.IsValid() {
		to = net.UDPAddrFromAddrPort(peer)
		if hasFailed(err) {
			c.names.failed(server, peer)
		}
	} else {
		to = unresolved{c.cfg.Network, server}
	}
	return udp.Datagram{}, &net.OpError{Op: "exchange", Net: c.cfg.Network, Addr: to, Err: inner(err)}
}

// inner returns the cause inside the OpError of a socket. Do replaces that OpError by its own.
func inner(err error) error {
	if e, ok := err.(*net.OpError); ok {
		return e.Err
	}
	return err
}

// hasFailed reports whether another address should be tried after err.
func hasFailed(err error) bool {
	for _, mine := range []error{net.ErrClosed, context.Canceled, ErrNoKey, ErrDuplicate, ErrTooMany, udp.ErrTooLarge} {
		if errors.Is(err, mine) {
			return false
		}
	}
	return true
}

func (c *Client[K]) do(ctx context.Context, server string, payload []byte) (d udp.Datagram, peer netip.AddrPort, err error) {
	if c.closing.Err() != nil {
		return d, peer, net.ErrClosed
	}
	key, ok := c.cfg.Key(payload)
	if !ok {
		return d, peer, ErrNoKey
	}
	if peer, err = c.names.address(ctx, c.closing, server); err != nil {
		return d, netip.AddrPort{}, c.reason(ctx, err)
	}
	r := &request[K]{key: key, peer: peer, payload: payload, result: make(chan result, 1)}
	if c.cfg.Match != nil {
		r.payload = bytes.Clone(payload) // Match may still read it when Do has returned
	}
	if err := c.pending.add(r, c.cfg.MaxOutstanding, c.cfg.SocketPerRequest); err != nil {
		return d, peer, err
	}
	t := transmission[K]{client: c, request: r}
	defer func() { // also when Schedule or Key panics
		t.close()
		// A response that arrived in time counts, even if ctx has ended since.
		if res, ok := c.pending.end(r, !c.cfg.SocketPerRequest); ok {
			d, err = res.response, res.err
		}
	}()
	return d, peer, c.reason(ctx, t.run(ctx))
}

func (c *Client[K]) made() bool { return c != nil && c.cancel != nil }

// reason returns why a request failed: the client was closed, ctx has ended, or err.
func (c *Client[K]) reason(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case c.closing.Err() != nil:
		return net.ErrClosed
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return ended(ctx)
	}
	return err
}

// transmission sends one request until there is a result.
type transmission[K comparable] struct {
	client  *Client[K]
	request *request[K]
	socket  *socket[K]
	sent    int
}

// run returns nil when the request has a result, and otherwise why it ended.
func (t *transmission[K]) run(ctx context.Context) error {
	c := t.client
	begin := time.Now()
	var timer *time.Timer
	for attempt := 1; ; attempt++ {
		skipped := attempt > 1 && !c.budget.Allow()
		if skipped {
			c.stats.suppressed.Add(1)
		} else if err := t.transmit(ctx, attempt); err != nil {
			return err
		}
		broken := t.socket.broken
		if skipped {
			broken = nil // the rate limit forbids the transmission, so no socket is needed
		}
		wait := c.cfg.Schedule(attempt)
		if timer == nil {
			timer = time.NewTimer(wait)
			defer timer.Stop()
		} else {
			timer.Reset(wait)
		}
		select {
		case res := <-t.request.result:
			t.request.result <- res // for pending.end
			return nil
		case <-ctx.Done():
			return ended(ctx)
		case <-c.closing.Done():
			return net.ErrClosed
		case <-broken: // a new one sends at once
			if attempt == c.cfg.Attempts {
				return t.socket.err
			}
		case <-timer.C:
			if attempt == c.cfg.Attempts {
				return &TimeoutError{Sent: t.sent, Waited: time.Since(begin)}
			}
		}
	}
}

// transmit sends the request once. An error is one that ends it.
func (t *transmission[K]) transmit(ctx context.Context, attempt int) error {
	c := t.client
	var err error
	if t.socket == nil || t.socket.isBroken() {
		t.close()
		if t.socket, err = c.socketFor(ctx, t.request); err != nil {
			return err
		}
	}
	err = t.socket.send(t.request.payload, t.request.peer)
	switch {
	case err == nil:
		t.sent++
		c.stats.sent.Add(1)
		if attempt > 1 {
			c.stats.retransmitted.Add(1)
		}
	case errors.Is(err, net.ErrClosed) && c.closing.Err() == nil:
		// The socket has just stopped: run notices that and continues with another one.
	default:
		c.stats.sendErrors.Add(1)
		if attempt == 1 {
			return err
		}
	}
	return nil
}

// close ends a socket that is this request's own.
func (t *transmission[K]) close() {
	if t.socket != nil && t.socket.only != nil {
		t.socket.conn.Close()
	}
}
