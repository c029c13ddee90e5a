package pcap

import (
	"io"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// file is a pcapng file.
type file struct {
	w   *pcapgo.NgWriter
	ids map[where]int // numbers of the interfaces in the file
}

// maxInterfaces bounds the interfaces of a file. The packets of further sockets are on the first.
const maxInterfaces = 1024

func newFile(w io.Writer) (*file, error) {
	ng, err := pcapgo.NewNgWriterInterface(w, described("other"), pcapgo.DefaultNgWriterOptions)
	if err != nil {
		return nil, err
	}
	return &file{ng, map[where]int{}}, ng.Flush() // a writer that takes nothing is known at once
}

// described returns an interface of raw IP packets: a socket has no link layer.
func described(name string) pcapgo.NgInterface {
	return pcapgo.NgInterface{Name: name, LinkType: layers.LinkTypeRaw, TimestampResolution: 9}
}

func (f *file) write(r *record) error {
	id, known := f.ids[r.where]
	if !known && len(f.ids) < maxInterfaces {
		var err error
		if id, err = f.w.AddInterface(described(r.where.String())); err != nil {
			return err
		}
		f.ids[r.where] = id
	}
	var o pcapgo.NgPacketOptions
	if r.comment != "" {
		o.Comments = []string{r.comment}
	}
	switch r.dir {
	case inbound:
		o.Flags = &pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}
	case outbound:
		o.Flags = &pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionOutbound}
	}
	return f.w.WritePacketWithOptions(gopacket.CaptureInfo{
		Timestamp: r.at, CaptureLength: len(r.packet), Length: r.length, InterfaceIndex: id,
	}, r.packet, o)
}

func (f *file) flush() error { return f.w.Flush() }

func sortByTime(rs []*record) {
	slices.SortStableFunc(rs, func(a, b *record) int { return a.at.Compare(b.at) })
}
