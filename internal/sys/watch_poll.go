package sys

import (
	"fmt"
	"slices"
	"time"

	"github.com/udpkit/udp/internal/socket"
)

// pollInterval is how often the interfaces are listed where the system does not report
// changes.
const pollInterval = 2 * time.Second

// poll calls changed when the result of list has changed; it ignores errors. It does not
// notice an interface that is replaced by one with the same index, name, flags, MTU and
// addresses.
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

// snapshot returns, as text, the properties of the interfaces that memberships depend on.
func snapshot(list func() ([]socket.Interface, error)) (s []string, err error) {
	ifs, err := list()
	for _, i := range ifs {
		s = append(s, fmt.Sprint(i.Index, i.Name, i.Flags, i.MTU, i.Addrs, i.Tentative))
	}
	return s, err
}
