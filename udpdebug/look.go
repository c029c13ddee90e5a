package udpdebug

import (
	"strings"
	"time"

	"github.com/udpkit/udp"
)

// snapshot is everything on the page at one time.
type snapshot struct {
	Time     time.Time     `json:"time"`
	Sections []section     `json:"sections"`
	Capture  *captureState `json:"capture,omitempty"`
}

// section is about one source.
type section struct {
	Kind         string       `json:"kind"`
	Name         string       `json:"name"`
	Local        string       `json:"local,omitempty"`
	Peer         string       `json:"peer,omitempty"`
	Closed       bool         `json:"closed,omitempty"`
	Counters     []counter    `json:"counters"`
	Capabilities []capability `json:"capabilities,omitempty"`
	Multicast    bool         `json:"-"`
	Memberships  []membership `json:"memberships,omitempty"`
	Peers        []topPeer    `json:"peers,omitempty"`
}

type counter struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// Gauge reports whether the counter is a gauge or a maximum, and so has no rate.
func (c counter) Gauge() bool {
	return c.Name == "waiting" || strings.HasSuffix(c.Name, "peak") || c.Name == "largest_read"
}

// Drop reports whether the counter should stay 0.
func (c counter) Drop() bool { return strings.Contains(c.Name, "drop") }

// Class returns the class of the row: counters that are 0 are hidden at first.
func (c counter) Class() string {
	var class []string
	if c.Drop() {
		class = append(class, "drop")
	}
	if c.Value == 0 {
		class = append(class, "zero")
	}
	return strings.Join(class, " ")
}

// capability is something that a system may do for a socket.
type capability struct {
	Name string `json:"name"`
	On   bool   `json:"on"`
	Use  string `json:"use"`           // what it is good for
	Why  string `json:"why,omitempty"` // it may be off
}

// membership is the state of a multicast membership on one interface.
type membership struct {
	Group     string `json:"group"`
	Source    string `json:"source,omitempty"`
	Interface string `json:"interface"`
	State     string `json:"state"`
}

// topPeer is an address that sends much.
type topPeer struct {
	Address string `json:"address"`
	Least   uint64 `json:"least"` // datagrams
	Most    uint64 `json:"most"`  // likewise
	Sent    uint64 `json:"sent"`  // to it
	Bytes   uint64 `json:"bytes"` // payloads of both directions
	Dropped uint64 `json:"dropped"`
}

func (h *Handler) look() snapshot {
	h.mu.Lock()
	sources := append([]*source(nil), h.sources...)
	h.mu.Unlock() // a socket's Stats may ask the kernel
	s := snapshot{Time: time.Now(), Sections: make([]section, len(sources))}
	for i, from := range sources {
		to := &s.Sections[i]
		to.Kind, to.Name = from.kind, from.name
		from.look(to)
	}
	if h.cfg.Capture != nil {
		s.Capture = h.capture.state()
	}
	return s
}

func (to *section) counts(all ...counter) { to.Counters = all }

func (to *section) socket(s Socket) {
	if a := s.LocalAddr(); a != nil {
		to.Local = a.String()
	}
	if a := s.RemoteAddr(); a != nil {
		to.Peer = a.String()
	}
	if c, ok := s.(interface{ Closing() <-chan struct{} }); ok {
		select {
		case <-c.Closing():
			to.Closed = true
		default:
		}
	}
	for name, value := range s.Stats().All() {
		to.Counters = append(to.Counters, counter{name, value})
	}
	to.Capabilities = capabilities(s.Info())
	c, ok := s.(interface {
		Multicast() (*udp.MulticastConn, bool)
	})
	if !ok {
		return
	}
	m, ok := c.Multicast()
	if !ok {
		return
	}
	to.Multicast = true
	for _, member := range m.Memberships() {
		for _, on := range member.On {
			v := membership{Group: member.Group.String(), Interface: on.Name, State: "joined"}
			if member.Source.IsValid() {
				v.Source = member.Source.String()
			}
			if on.Err != nil {
				v.State = on.Err.Error()
			}
			to.Memberships = append(to.Memberships, v)
		}
	}
}

// capabilities returns the features that are on, and those that are off with what they need.
func capabilities(i udp.Info) []capability {
	batch := i.Batch > 1
	all := []capability{
		{"batch", batch, "Several messages are read or sent with one system call.",
			"It needs Linux, and a kernel or sandbox that allows recvmmsg and sendmmsg."},
		{"gro", i.GRO, "One read brings several datagrams of a sender.",
			"It needs Linux 5.0, and a Config without NoOffload."},
		{"gso", i.GSO, "One send takes several datagrams.",
			"It needs Linux 4.18, a Config without NoOffload, and a device that computes checksums: one that failed is not asked again."},
		{"packet_info", i.PacketInfo, "Datagrams know where they were sent to, and replies leave from there.",
			"The system does not report it; a socket bound to one address does not need it."},
		{"ecn", i.ECN, "Congestion marks are received and sent.", "The system does not report the traffic class."},
		{"error_queue", i.ErrorQueue, "Refusals say who sent them and about which datagram.",
			"It needs Linux, and a connected socket or Config.PeerErrors."},
		{"multicast_filter", i.MulticastFilter, "The kernel itself keeps away groups that others have joined.",
			"The system delivers them; they are dropped, and counted as datagrams of an unexpected source."},
		{"timestamps", i.Timestamps, "Datagrams carry the kernel's time of arrival.", "It needs Linux, and Config.Timestamps."},
		{"steering", i.Steering != udp.SteeringNone, "Flows are distributed over the sockets of a Group: " + i.Steering.String() + ".",
			"The socket is not a member of a Group, or the system can't distribute flows."},
		{"port_kept", i.PortKept, "The port stays bound while the peer changes.",
			"On an adopted socket whose port the system chose, and outside of Linux, it is free for a moment."},
	}
	for n := range all {
		if all[n].On {
			all[n].Why = ""
		}
	}
	return all
}
