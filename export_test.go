package udp

// Counters are those of a socket, without one.
type Counters = counters

// CountRead counts what a read of n datagrams and handling them does.
func CountRead(k *Counters, n, bytes int) {
	k.read(n, bytes)
	k.handled.Add(int64(n))
}
