package sys

import (
	"fmt"
	"syscall"

	"github.com/udpkit/udp/internal/socket"
)

// setOptions sets what Open and Adopt are asked for beside what every socket gets.
// An error names the option; it wraps errors.ErrUnsupported where the system has
// none of the kind.
func setOptions(rc syscall.RawConn, o socket.Options) error {
	for _, option := range [...]struct {
		name   string
		wanted bool
		set    func() error
	}{
		{"Device", o.Device != "", func() error { return bindToDevice(rc, o.Device) }},
		{"Mark", o.Mark != 0, func() error { return setMark(rc, o.Mark) }},
		{"TrafficClass", o.TrafficClass != 0, func() error { return setTrafficClass(rc, o.TrafficClass) }},
		{"TTL", o.TTL != 0, func() error { return setTTL(rc, o.TTL) }},
		{"FreeBind", o.FreeBind, func() error { return setFreeBind(rc) }},
		{"Transparent", o.Transparent, func() error { return setTransparent(rc) }},
		{"MTUDiscovery", o.MTUDiscovery != socket.MTUDefault, func() error { return setMTUDiscovery(rc, o.MTUDiscovery) }},
	} {
		if !option.wanted {
			continue
		}
		if err := option.set(); err != nil {
			return fmt.Errorf("%s: %w", option.name, err)
		}
	}
	return nil
}
