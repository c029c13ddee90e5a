//go:build race

package buffer

// poison makes the use of a released datagram visible in tests.
func poison(b []byte) {
	for i := range b {
		b[i] = 0xDB
	}
}
