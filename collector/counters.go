package main

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// reason says why a datagram did not become a message.
type reason int

const (
	spoolFull  reason = iota // the stream takes nothing, and the spool is full
	spoolError               // the stream takes nothing, and writing to the spool failed
	rejected                 // the stream refuses this message for good
	malformed                // not of the input's format, and the input drops such
	reasons
)

func (r reason) String() string {
	return [reasons]string{"spool_full", "spool_error", "rejected", "malformed"}[r]
}

// counters are those of one input. When nothing is pending,
//
//	received == stream + spool + all of dropped - dropped[rejected] of spooled ones
type counters struct {
	received  atomic.Uint64 // datagrams that were decoded, or could not be
	malformed atomic.Uint64 // of those, not of the input's format
	stream    atomic.Uint64 // accepted: acknowledged by the stream, not having been in the spool
	spool     atomic.Uint64 // accepted: written to the spool
	dropped   [reasons]atomic.Uint64
}

// maxSources is how many sources have a count of their own.
const maxSources = 256

// sources counts drops by the sender's address. The table is bounded: sources that do
// not fit share a count.
type sources struct {
	mu    sync.Mutex
	drops map[netip.Addr]uint64
	other uint64
}

func (s *sources) add(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drops == nil {
		s.drops = make(map[netip.Addr]uint64)
	}
	if _, ok := s.drops[a]; ok || len(s.drops) < maxSources {
		s.drops[a]++
	} else {
		s.other++
	}
}

// each calls f for each source, and for the others with "other".
func (s *sources) each(f func(source string, drops uint64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a, n := range s.drops {
		f(a.String(), n)
	}
	if s.other > 0 {
		f("other", s.other)
	}
}
