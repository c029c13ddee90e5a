package udpdebug

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// stall is how long a browser may leave an event unread.
const stall = 10 * time.Second

// maxStreams is how many pages may be open.
const maxStreams = 64

// stream is what open pages share, so that many cost the sockets no more than one.
type stream struct {
	mu    sync.Mutex // guards what follows
	open  int
	at    time.Time // of last
	event []byte
}

// enter reports whether another page may open a stream, which leave ends.
func (s *stream) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == maxStreams {
		return false
	}
	s.open++
	return true
}

func (s *stream) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open--; s.open == 0 {
		s.event = nil
	}
}

// latest returns an event that is at most half an interval old.
func (h *Handler) latest() []byte {
	s := &h.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.event == nil || now.Sub(s.at) >= h.cfg.Interval/2 {
		b, err := json.Marshal(h.look())
		if err != nil {
			return nil
		}
		s.at, s.event = now, fmt.Appendf(nil, "data: %s\n\n", b)
	}
	return s.event
}

func (h *Handler) events(w http.ResponseWriter, r *http.Request) {
	if !h.stream.enter() {
		http.Error(w, "udpdebug: too many pages are open", http.StatusServiceUnavailable)
		return
	}
	defer h.stream.leave()
	w.Header().Set("Content-Type", "text/event-stream")
	c := http.NewResponseController(w)
	t := time.NewTicker(h.cfg.Interval)
	defer t.Stop()
	for {
		_ = c.SetWriteDeadline(time.Now().Add(stall)) // not every ResponseWriter has one
		if _, err := w.Write(h.latest()); err != nil || c.Flush() != nil {
			return
		}
		select {
		case <-t.C:
		case <-r.Context().Done():
			return
		case <-h.ended:
			return
		}
	}
}
