package socket

// Steering is how datagrams find their socket when several share a port. Its values
// are those of udp.Steering.
type Steering int

const (
	SteeringNone Steering = iota // one socket has the port
	SteeringHash                 // by the system's hash over the sockets there are now
	SteeringCBPF                 // by a classic BPF program over the system's array of sockets
	SteeringEBPF                 // by an eBPF program over a map of sockets
)
