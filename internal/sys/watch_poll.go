package sys

import (
	"slices"
	"time"
)

// pollInterval is how often interfaces are compared where the system does not
// tell of changes.
const pollInterval = 2 * time.Second

// watch compares the interfaces at intervals.
func watch(changed func()) (stop func(), err error) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(pollInterval)
		defer t.Stop()
		last := snapshot()
		for {
			select {
			case <-quit:
				return
			case <-t.C:
				if now := snapshot(); !slices.Equal(now, last) {
					last = now
					changed()
				}
			}
		}
	}()
	return func() { close(quit); <-done }, nil
}

// snapshot has everything about the interfaces that a membership depends on.
func snapshot() []string {
	ifs, err := Kernel{}.Interfaces()
	if err != nil {
		return nil
	}
	var s []string
	for _, i := range ifs {
		s = append(s, i.Name, i.Flags.String(), portString(uint16(i.Index)))
		for _, a := range i.Addrs {
			s = append(s, a.String())
		}
	}
	return s
}
