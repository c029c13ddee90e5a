//go:build !unix || aix

package sys

// awaitDatagram does nothing: the read itself waits, and holds a buffer meanwhile.
func (c *Conn) awaitDatagram(func(fd uintptr) bool) error { return nil }

func readable(func()) func(fd uintptr) bool { return nil }
