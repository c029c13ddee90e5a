// Package pcap captures the packets of a simulated network in files for Wireshark. It is a
// module of its own, so that package udptest does not depend on a library for that format.
package pcap

import (
	"io"
	"sync"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/udpkit/udp/udptest"
)

// A Writer writes a pcapng file. Its methods may be called from any goroutine.
type Writer struct {
	mu  sync.Mutex
	w   *pcapgo.NgWriter
	ids map[string]int // numbers of the interfaces in the file, by name of the pipe
	err error
}

// NewWriter writes the header of a file and returns its Writer. Call Flush at the end.
func NewWriter(w io.Writer) (*Writer, error) {
	ng, err := pcapgo.NewNgWriterInterface(w, described("udptest"), pcapgo.DefaultNgWriterOptions)
	if err != nil {
		return nil, err
	}
	return &Writer{w: ng, ids: map[string]int{}}, nil
}

// described returns an interface of raw IP packets: a simulated link has no link layer.
func described(name string) pcapgo.NgInterface {
	return pcapgo.NgInterface{Name: name, LinkType: layers.LinkTypeRaw, TimestampResolution: 9}
}

// Tap writes every packet that enters a pipe, as tcpdump at the sender captures them, including
// those that the pipe loses, until stop is called.
//
//	stop := w.Tap(host.Out())
func (w *Writer) Tap(p *udptest.Pipe) (stop func()) { return p.Tap(w.frame) }

// TapArrivals writes the packets that have passed a pipe when they arrive, as tcpdump at the
// receiver captures them, including duplicates, until stop is called.
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

// Flush writes buffered packets to the file. It returns the first error of the Writer.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	return w.w.Flush()
}
