package sys

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/udpkit/udp/internal/socket"
)

// setOptions sets the options of o that not every socket has. An error names the option, and
// wraps errors.ErrUnsupported if the system does not have it.
func setOptions(rc syscall.RawConn, o *socket.Options) error {
	for i := range settings {
		s := &settings[i]
		if !s.wanted(o) {
			continue
		}
		if err := s.set(rc, o); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// settings are functions of the options rather than closures, so that a socket without options
// allocates nothing.
var settings = [...]struct {
	name   string
	wanted func(o *socket.Options) bool
	set    func(rc syscall.RawConn, o *socket.Options) error
}{
	{"Device", func(o *socket.Options) bool { return o.Device != "" },
		func(rc syscall.RawConn, o *socket.Options) error { return bindToDevice(rc, o.Device) }},
	{"Mark", func(o *socket.Options) bool { return o.Mark != 0 },
		func(rc syscall.RawConn, o *socket.Options) error { return setMark(rc, o.Mark) }},
	{"TrafficClass", func(o *socket.Options) bool { return o.TrafficClass != 0 },
		func(rc syscall.RawConn, o *socket.Options) error { return setTrafficClass(rc, o.TrafficClass) }},
	{"TTL", func(o *socket.Options) bool { return o.TTL != 0 },
		func(rc syscall.RawConn, o *socket.Options) error { return setTTL(rc, o.TTL) }},
	{"FreeBind", func(o *socket.Options) bool { return o.FreeBind },
		func(rc syscall.RawConn, _ *socket.Options) error { return setFreeBind(rc) }},
	{"Transparent", func(o *socket.Options) bool { return o.Transparent },
		func(rc syscall.RawConn, _ *socket.Options) error { return setTransparent(rc) }},
	{"OnTransmit", func(o *socket.Options) bool { return o.TransmitTimestamps && !o.Pulled },
		func(rc syscall.RawConn, _ *socket.Options) error { return setTransmitTimestamps(rc) }},
	{"ControlMessages", func(o *socket.Options) bool { return o.ControlMessages },
		func(syscall.RawConn, *socket.Options) error { return supportsControlMessages() }},
	{"MTUDiscovery", func(o *socket.Options) bool { return o.MTUDiscovery != socket.MTUDefault },
		func(rc syscall.RawConn, o *socket.Options) error { return setMTUDiscovery(rc, o.MTUDiscovery) }},
}

func supportsControlMessages() error {
	if !haveControlMessages {
		return errors.ErrUnsupported
	}
	return nil
}
