// Package pcap captures the datagrams of sockets and of simulated links in pcapng files, which
// Wireshark and tshark open. It is a module of its own because of the library for that format.
//
// A [Capture] is connected to any socket, of the kernel or simulated, through its Config:
//
//	capture := pcap.New(pcap.Config{})
//	cfg := udp.Config{Trace: capture.Trace()}
//
// It needs no privileges and sees what no other tool sees: which datagrams the socket dropped,
// and why. A comment of the packet has the reason: the display filter "frame.comment" shows
// those. The IP and UDP headers are made of what the socket knows, with valid checksums. An
// address that the system chose is 0.0.0.0 or ::, a TTL that is unknown is 64.
//
// A Capture always keeps the last datagrams in memory, to be written after something happened:
// [Capture.WriteLast], [Capture.DumpOn] and [Capture.DumpPanic]. Between [Capture.Start] and
// [Capture.Stop] it writes everything.
//
// A file has the payloads of all peers. Treat it as confidential.
package pcap
