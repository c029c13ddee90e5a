package exchange

import (
	"bytes"
	"net/netip"
	"strconv"
	"sync"

	"github.com/udpkit/udp"
)

// request is one call of Do.
type request[K comparable] struct {
	key     K
	peer    netip.AddrPort
	payload []byte // nil once it has ended
	result  chan result

	// Guarded by pending.mu.
	next  *request[K] // with the same key, to another server
	ended bool        // there is a result, or Do has given up
}

type result struct {
	response udp.Datagram
	err      error
}

// from reports whether d comes from the server that was asked.
func (r *request[K]) from(d *udp.Datagram) bool {
	if d.From == r.peer {
		return true
	}
	// A datagram has the name of its interface as a zone; the server may have been given with a
	// number.
	a := r.peer.Addr()
	return a.Zone() != "" && a.WithZone("") == d.From.Addr().WithZone("") &&
		r.peer.Port() == d.From.Port() && a.Zone() == strconv.Itoa(d.IfIndex())
}

// remembered is the number of ended requests that are kept, so that a late response is not
// counted as unknown.
const remembered = 4096

// pending has the requests that wait, and some of those that have ended.
type pending[K comparable] struct {
	mu       sync.Mutex
	requests map[K]*request[K]
	waiting  int
	ended    []*request[K] // a ring
	oldest   int           // of ended
}

// add makes r known, unless it has a socket of its own.
func (p *pending[K]) add(r *request[K], limit int, alone bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting >= limit {
		return ErrTooMany
	}
	if !alone {
		for o := p.requests[r.key]; o != nil; o = o.next {
			if o.peer == r.peer {
				if !o.ended {
					return ErrDuplicate
				}
				p.remove(o)
				break
			}
		}
		r.next = p.requests[r.key]
		p.requests[r.key] = r
	}
	p.waiting++
	return nil
}

// end returns the result of r, if there is one. After end, r gets no result.
func (p *pending[K]) end(r *request[K], remember bool) (res result, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting--
	r.ended, r.payload = true, nil
	select {
	case res = <-r.result:
		ok = true
	default:
	}
	if !remember {
		return res, ok
	}
	if len(p.ended) < remembered {
		p.ended = append(p.ended, r)
	} else {
		p.remove(p.ended[p.oldest])
		p.ended[p.oldest] = r
		p.oldest = (p.oldest + 1) % remembered
	}
	return res, ok
}

// remove forgets r, unless it was forgotten before.
func (p *pending[K]) remove(r *request[K]) {
	first := p.requests[r.key]
	if first == r {
		if r.next == nil {
			delete(p.requests, r.key)
		} else {
			p.requests[r.key] = r.next
		}
		return
	}
	for ; first != nil; first = first.next {
		if first.next == r {
			first.next = r.next
			return
		}
	}
}

// sender returns the request, waiting or ended, that d may respond to. known reports whether there
// is one with that key to any server.
func (p *pending[K]) sender(key K, d *udp.Datagram) (found *request[K], known, ended bool, payload []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for r := p.requests[key]; r != nil; r = r.next {
		if known = true; r.from(d) {
			return r, true, r.ended, r.payload
		}
	}
	return nil, known, false, nil
}

// finish gives r its result; it returns false when r has ended before.
func (p *pending[K]) finish(r *request[K], res result) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.ended {
		return false
	}
	r.ended = true
	r.result <- res
	return true
}

// refused returns the waiting request that an ICMP error quotes.
func (p *pending[K]) refused(key K, hasKey bool, f *udp.Refusal) *request[K] {
	p.mu.Lock()
	defer p.mu.Unlock()
	if hasKey {
		for r := p.requests[key]; r != nil; r = r.next {
			if r.quotedBy(f) {
				return r
			}
		}
		return nil
	}
	// The quote is too short for a key (RFC 792 requires 8 bytes, which is the UDP header). It
	// identifies a request if only one fits. With many requests, comparing each would take too
	// long.
	if p.waiting > 64 || len(p.requests) > 64+remembered {
		return nil
	}
	var found *request[K]
	for _, r := range p.requests {
		for ; r != nil; r = r.next {
			if r.quotedBy(f) {
				if found != nil {
					return nil
				}
				found = r
			}
		}
	}
	return found
}

func (r *request[K]) quotedBy(f *udp.Refusal) bool {
	return !r.ended && r.peer == f.Peer && bytes.HasPrefix(r.payload, f.Payload)
}
