package main

import (
	"fmt"
	"io"
	"net/netip"
	"sync"
)

// Troubles are what announcements meet on interfaces, which is the same at each of
// them: loopback may have no way to a group of IPv6. That is logged when it begins.
type troubles struct {
	out io.Writer

	mu   sync.Mutex
	last map[place]string // the error of the last announcement that failed
}

type place struct {
	group netip.Addr
	name  string // of the interface
}

// note notes how an announcement went.
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
