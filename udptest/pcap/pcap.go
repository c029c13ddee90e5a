// Package pcap writes what passes the links of a simulated network into a file
// that Wireshark opens. It is a module of its own, so that package udptest needs
// nothing to write that format.
package pcap

import (
	"io"
	"sync"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/udpkit/udp/udptest"
)

// A Writer writes pcapng. Its methods may be called from any goroutine.
type Writer struct {
	mu  sync.Mutex
	w   *pcapgo.NgWriter
	ids map[string]int // interfaces of the file, by the name of the pipe
	err error
}

// NewWriter begins a file.
func NewWriter(w io.Writer) (*Writer, error) {
	ng, err := pcapgo.NewNgWriterInterface(w, described("udptest"), pcapgo.DefaultNgWriterOptions)
	if err != nil {
		return nil, err
	}
	return &Writer{w: ng, ids: map[string]int{}}, nil
}

// described is an interface of raw IP packets: a simulated link has no frames.
func described(name string) pcapgo.NgInterface {
	return pcapgo.NgInterface{Name: name, LinkType: layers.LinkTypeRaw, TimestampResolution: 9}
}

// Tap writes every packet that enters a pipe from now on, as tcpdump on the
// sender's side sees them: those that the pipe loses too. Stop ends it.
//
//	stop := w.Tap(host.Out())
func (w *Writer) Tap(p *udptest.Pipe) (stop func()) { return p.Tap(w.frame) }

// TapArrivals writes the packets that pass the pipe, duplicates too, each when it
// arrives at the other end, as tcpdump on the receiver's side sees them.
func (w *Writer) TapArrivals(p *udptest.Pipe) (stop func()) { return p.TapArrivals(w.frame) }

func (w *Writer) frame(f udptest.Frame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	id, known := w.ids[f.Pipe]
	if !known {
		if id, w.err = w.w.AddInterface(described(f.Pipe)); w.err != nil {
			return
		}
		w.ids[f.Pipe] = id
	}
	w.err = w.w.WritePacket(gopacket.CaptureInfo{
		Timestamp: f.Time, CaptureLength: len(f.IP), Length: len(f.IP), InterfaceIndex: id,
	}, f.IP)
}

// Flush writes out what is buffered, and returns the first error there was.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	return w.w.Flush()
}
