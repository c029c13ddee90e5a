package cmsg

// A layout is how a system arranges control messages in memory (cmsg(3)):
//
//	struct cmsghdr { …; int cmsg_level; int cmsg_type; }; // with the length first
//
// and the data behind it. Neither it nor bsd and winsock, which embed it, have a build
// constraint: so the messages of every system are tested and fuzzed on any system.
type layout struct {
	length int // sizeof(cmsg_len), 4 or 8
	align  int // header and data are padded to multiples of it, a power of two
}

// Levels are the same on all systems.
const (
	levelIP   = 0  // IPPROTO_IP
	levelUDP  = 17 // IPPROTO_UDP, SOL_UDP
	levelIPv6 = 41 // IPPROTO_IPV6
)

func (l layout) header() int       { return l.length + 8 }
func (l layout) aligned(n int) int { return (n + l.align - 1) &^ (l.align - 1) }
func (l layout) data() int         { return l.aligned(l.header()) } // where the data begin, CMSG_LEN(0)
func (l layout) space(n int) int   { return l.data() + l.aligned(n) }

// next takes the first message off b. ok is false when b is malformed.
func (l layout) next(b []byte) (level, typ int32, data, rest []byte, ok bool) {
	if len(b) < l.data() {
		return 0, 0, nil, nil, false
	}
	n := uint64(ne.Uint32(b))
	if l.length == 8 {
		n = ne.Uint64(b)
	}
	if n < uint64(l.data()) || n > uint64(len(b)) {
		return 0, 0, nil, nil, false
	}
	level, typ = int32(ne.Uint32(b[l.length:])), int32(ne.Uint32(b[l.length+4:]))
	// The last message may lack its padding.
	return level, typ, b[l.data():n], b[min(l.aligned(int(n)), len(b)):], true
}

// add appends a message with n zero bytes of data. It returns all messages and those bytes.
func (l layout) add(b []byte, level, typ int32, n int) (all, data []byte) {
	start := len(b)
	b = append(b, make([]byte, l.space(n))...)
	m := b[start:]
	if l.length == 8 {
		ne.PutUint64(m, uint64(l.data()+n))
	} else {
		ne.PutUint32(m, uint32(l.data()+n))
	}
	ne.PutUint32(m[l.length:], uint32(level))
	ne.PutUint32(m[l.length+4:], uint32(typ))
	return b, m[l.data() : l.data()+n]
}

func (l layout) addUint32(b []byte, level, typ int32, v uint32) []byte {
	b, data := l.add(b, level, typ, 4)
	ne.PutUint32(data, v)
	return b
}

// octet reads a value of 8 bits, which systems write as a byte or as an int.
func octet(data []byte) (v uint8, ok bool) {
	switch {
	case len(data) >= 4:
		return uint8(ne.Uint32(data)), true
	case len(data) >= 1:
		return data[0], true
	}
	return 0, false
}

// writer writes control messages into memory that does not grow.
type writer struct {
	layout
	b    []byte // the messages; the capacity is all there is
	full bool   // a message did not fit
}

// message adds a message with n bytes of data and returns these; nil if it does not fit.
func (w *writer) message(level, typ int32, n int) (data []byte) {
	if len(w.b)+w.space(n) > cap(w.b) {
		w.full = true
		return nil
	}
	w.b, data = w.add(w.b, level, typ, n)
	return data
}

func (w *writer) uint32(level, typ int32, v uint32) {
	if data := w.message(level, typ, 4); data != nil {
		ne.PutUint32(data, v)
	}
}

func (w *writer) byte(level, typ int32, v uint8) {
	if data := w.message(level, typ, 1); data != nil {
		data[0] = v
	}
}

// writer returns a writer that fills b up to its length, not its capacity.
func (l layout) writer(b []byte) writer { return writer{layout: l, b: b[:0:len(b)]} }

// written returns the results of Header.Put.
func (w *writer) written() (n int, all bool) { return len(w.b), !w.full || cap(w.b) == 0 }
