//go:build !linux

package sys

// connectsOver: elsewhere a connect that fails dissolves the old association.
const connectsOver = false

// noteDevice has nothing to note: no other system forgets it.
func (c *Conn) noteDevice() {}
