package udptest

import "time"

// The presets are typical values, to start from. Each is one direction of an access link; the
// latency is that from the host to the first router beyond it. [Host.SetLink] sets both
// directions.

// LAN returns the faults of a switched Ethernet in one building: 0.1 ms, no loss.
func LAN() Faults {
	return Faults{Latency: 100 * time.Microsecond, Jitter: 50 * time.Microsecond, Ordered: true}
}

// DSL returns the faults of a 16 Mbit/s home connection with a queue of half a second: 8 ms,
// little loss.
func DSL() Faults {
	return Faults{
		Loss: 0.0005, Latency: 8 * time.Millisecond, Jitter: 2 * time.Millisecond, Ordered: true,
		Rate: 16_000_000, Queue: 1 << 20,
	}
}

// WiFi returns the faults of a shared 2.4 GHz network: 2 ms with much jitter, and losses in
// bursts of about three datagrams, 1% altogether.
func WiFi() Faults {
	return Faults{
		Burst:   Burst{Begin: 0.0035, End: 0.34, Bad: 1},
		Latency: 2 * time.Millisecond, Jitter: 8 * time.Millisecond, Ordered: true, Rate: 30_000_000,
	}
}

// LTE returns the faults of a mobile connection: 25 ms with 15 ms of jitter, few losses because
// the radio link retransmits, and a deep queue.
func LTE() Faults {
	return Faults{
		Loss: 0.001, Latency: 25 * time.Millisecond, Jitter: 15 * time.Millisecond, Ordered: true,
		Rate: 20_000_000, Queue: 1 << 20,
	}
}

// Satellite returns the faults of a geostationary satellite: 270 ms, and losses in bursts of
// about ten datagrams, 0.5% altogether.
func Satellite() Faults {
	return Faults{
		Burst:   Burst{Begin: 0.0005, End: 0.1, Bad: 1},
		Latency: 270 * time.Millisecond, Jitter: 10 * time.Millisecond, Ordered: true, Rate: 10_000_000, Queue: 512 << 10,
	}
}
