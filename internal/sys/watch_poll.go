package sys

import (
	"fmt"
	"slices"
	"time"

	"github.com/udpkit/udp/internal/socket"
)

// pollInterval is how often interfaces are compared where the system does not
// tell of changes.
const pollInterval = 2 * time.Second

// poll calls changed whenever list gives another answer than before; an error is
// none. An interface that is replaced by another of its index between two looks,
// with all that can be seen of it the same, goes unnoticed.
func poll(list func() ([]socket.Interface, error), interval time.Duration, changed func()) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	last, _ := snapshot(list)
	go func() {
		defer close(done)
		t := time.NewTicker(interval)
		defer t.Stop()
		for {
			select {
			case <-quit:
				return
			case <-t.C:
				if now, err := snapshot(list); err == nil && !slices.Equal(now, last) {
					last = now
					changed()
				}
			}
		}
	}()
	return func() { close(quit); <-done }
}

// snapshot has everything about the interfaces that a membership depends on.
func snapshot(list func() ([]socket.Interface, error)) (s []string, err error) {
	ifs, err := list()
	for _, i := range ifs {
		s = append(s, fmt.Sprint(i.Index, i.Name, i.Flags, i.MTU, i.Addrs))
	}
	return s, err
}
