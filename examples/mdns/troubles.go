package main

import (
	"fmt"
	"io"
	"net/netip"
	"sync"
)

// Troubles has the errors of announcements on each interface. They tend to repeat, for example on
// loopback without a route to IPv6 groups, so an error is logged when it first occurs.
type troubles struct {
	out io.Writer

	mu   sync.Mutex
	last map[place]string // the error of the last announcement that failed
}

type place struct {
	group netip.Addr
	name  string // of the interface
}

// note records the result of an announcement.
func (t *troubles) note(group netip.Addr, name string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := place{group, name}
	if err == nil {
		delete(t.last, at)
		return
	}
	if t.last[at] == err.Error() {
		return
	}
	if t.last == nil {
		t.last = make(map[place]string)
	}
	t.last[at] = err.Error()
	fmt.Fprintln(t.out, err)
}
