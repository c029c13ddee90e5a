package cmsg

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// memory returns values in the byte order of this processor, as a kernel on it would have
// written them, and zero bytes for an int.
func memory(values ...any) (b []byte) {
	for _, v := range values {
		if n, ok := v.(int); ok {
			b = append(b, make([]byte, n)...)
			continue
		}
		var err error
		if b, err = binary.Append(b, ne, v); err != nil {
			panic(err)
		}
	}
	return b
}

// layouts are those of all systems: those of 32 bits, macOS and old DragonFly; Linux and
// Windows of 64 bits; the BSDs of 64 bits; NetBSD on arm64.
var layouts = []layout{{4, 4}, {8, 8}, {4, 8}, {4, 16}}

func TestMessagesAreLaidOutAsBySystems(t *testing.T) {
	for l, want := range map[layout][]byte{
		{4, 4}:  memory(uint32(13), int32(41), int32(7), byte(9), 3, uint32(20), int32(0), int32(8), [8]byte{1}),
		{8, 8}:  memory(uint64(17), int32(41), int32(7), byte(9), 7, uint64(24), int32(0), int32(8), [8]byte{1}),
		{4, 8}:  memory(uint32(17), int32(41), int32(7), 4, byte(9), 7, uint32(24), int32(0), int32(8), 4, [8]byte{1}),
		{4, 16}: memory(uint32(17), int32(41), int32(7), 4, byte(9), 15, uint32(24), int32(0), int32(8), 4, [8]byte{1}, 8),
	} {
		b, data := l.add(nil, 41, 7, 1)
		data[0] = 9
		b, data = l.add(b, 0, 8, 8)
		data[0] = 1
		require.Equal(t, want, b, "%+v", l)
	}
}

// On a 64-bit BSD the header of 12 bytes is followed by 4 of padding. A message that ends
// between them, which a program can write, is malformed.
func TestAMessageThatEndsInItsHeaderIsMalformed(t *testing.T) {
	for _, l := range layouts {
		whole, _ := l.add(nil, 0, 7, 4)
		for length := range len(whole) {
			for size := range len(whole) + 1 {
				b := append([]byte(nil), whole[:size]...)
				if size >= 4 {
					copy(b, memory(uint32(length)))
				}
				if l.length == 8 && size >= 8 {
					copy(b, memory(uint64(length)))
				}
				_, _, data, _, ok := l.next(b)
				require.Equal(t, length >= l.data() && length <= size, ok, "%+v: length %d of %d bytes", l, length, size)
				if ok {
					require.Len(t, data, length-l.data())
				}
			}
		}
		for _, s := range systemsOf(l) {
			for size := range len(whole) {
				b := append([]byte(nil), whole[:size]...)
				require.NotPanics(t, func() { s.parse(b, new(Received)) })
				require.NotPanics(t, func() { s.parseSending(b, new(Sending)) })
			}
		}
	}
}

// messages has the methods that bsd and winsock share.
type messages interface {
	parse(b []byte, r *Received) bool
	parseSending(b []byte, s *Sending) bool
	putHeader(h *Header, b []byte) (n int, all bool)
}

// systemsOf returns the systems that have a layout.
func systemsOf(l layout) map[string]messages {
	if l.length == 8 {
		return map[string]messages{"Windows": winsock{l}}
	}
	all := map[string]messages{}
	for name, s := range bsds {
		all[fmt.Sprintf("%s, %d", name, l.align)] = s.alignedTo(l.align)
	}
	if l.align == 4 {
		all["Windows, 32 bits"] = winsock{l}
	}
	return all
}
