package addressing_test

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// bpf makes the system call bpf(2). attr is a form of union bpf_attr. It skips the test if the
// kernel lacks the call or the test may not make it.
func bpf(t *testing.T, command uintptr, attr []byte) int {
	t.Helper()
	n, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(&attr[0])), uintptr(len(attr)))
	switch errno {
	case 0:
		return int(n)
	case unix.EPERM, unix.ENOSYS:
		t.Skip("bpf(2): ", errno)
	}
	require.FailNow(t, "bpf(2)", "command %d: %v", command, errno)
	return -1
}

// attrOf lays out 32-bit and 64-bit fields one after the other.
func attrOf(fields ...any) (b []byte) {
	for _, f := range fields {
		switch f := f.(type) {
		case int:
			b = binary.NativeEndian.AppendUint32(b, uint32(f))
		case uintptr:
			b = binary.NativeEndian.AppendUint64(b, uint64(f))
		}
	}
	return b
}

// redirect gives c every datagram that arrives in the namespace, whatever its destination. It
// uses BPF_PROG_TYPE_SK_LOOKUP, which like TPROXY changes no header.
func redirect(t *testing.T, ns *netns.NS, c *udp.Conn) {
	t.Helper()
	sockets := bpf(t, unix.BPF_MAP_CREATE, attrOf(int(unix.BPF_MAP_TYPE_SOCKMAP), 4, 8, 1, 0))
	t.Cleanup(func() { unix.Close(sockets) })
	rc, err := c.SyscallConn()
	require.NoError(t, err)
	var pin runtime.Pinner
	defer pin.Unpin()
	key, value := new(uint32), new(uint64)
	pin.Pin(key)
	pin.Pin(value)
	require.NoError(t, rc.Control(func(fd uintptr) {
		*value = uint64(fd)
		bpf(t, unix.BPF_MAP_UPDATE_ELEM, attrOf(sockets, 0, uintptr(unsafe.Pointer(key)), uintptr(unsafe.Pointer(value)), uintptr(0)))
	}))
	insn := func(op, regs byte, off int16, imm int32) (i [8]byte) {
		i[0], i[1] = op, regs
		binary.NativeEndian.PutUint16(i[2:], uint16(off))
		binary.NativeEndian.PutUint32(i[4:], uint32(imm))
		return i
	}
	const mapLookup, skRelease, skAssign = 1, 86, 124 // helpers
	program := [][8]byte{
		insn(0xbf, 0x16, 0, 0),                                // r6 = ctx
		insn(0x7a, 0x0a, -8, 0),                               // *(u64 *)(r10 - 8) = 0
		insn(0xbf, 0xa2, 0, 0),                                // r2 = r10
		insn(0x07, 0x02, 0, -8),                               // r2 -= 8
		insn(0x18, 0x11, 0, int32(sockets)), insn(0, 0, 0, 0), // r1 = the map
		insn(0x85, 0, 0, mapLookup),
		insn(0x15, 0x00, 7, 0), // if r0 == 0 goto the end
		insn(0xbf, 0x07, 0, 0), // r7 = r0
		insn(0xbf, 0x61, 0, 0), // r1 = ctx
		insn(0xbf, 0x72, 0, 0), // r2 = r7
		insn(0xb7, 0x03, 0, 0), // r3 = 0
		insn(0x85, 0, 0, skAssign),
		insn(0xbf, 0x71, 0, 0), // r1 = r7
		insn(0x85, 0, 0, skRelease),
		insn(0xb7, 0x00, 0, 1), // r0 = SK_PASS
		insn(0x95, 0, 0, 0),
	}
	license := []byte("GPL\x00")
	pin.Pin(&program[0])
	pin.Pin(&license[0])
	const expectedAttachType = 68 // offset in union bpf_attr
	attr := attrOf(int(unix.BPF_PROG_TYPE_SK_LOOKUP), len(program), uintptr(unsafe.Pointer(&program[0])), uintptr(unsafe.Pointer(&license[0])))
	attr = append(attr, make([]byte, expectedAttachType-len(attr))...)
	attr = append(attr, attrOf(int(unix.BPF_SK_LOOKUP))...)
	prog := bpf(t, unix.BPF_PROG_LOAD, attr)
	t.Cleanup(func() { unix.Close(prog) })
	ns.Do(func() {
		own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		defer unix.Close(own)
		link := bpf(t, unix.BPF_LINK_CREATE, attrOf(prog, own, int(unix.BPF_SK_LOOKUP), 0))
		t.Cleanup(func() { unix.Close(link) })
	})
}

// A transparent socket reports the address and the port that the sender used.
func TestATransparentSocketReportsTheOriginalDestination(t *testing.T) {
	netns.Run(t, func() {
		for _, local := range []string{"", "127.0.0.1"} {
			for _, to := range []string{"198.51.100.7:5055", "127.0.0.1:7", "[2001:db8::7]:5055"} {
				ns := netns.New(t)
				ns.IP("route add local 198.51.100.0/24 dev lo")
				ns.Addr("lo", "2001:db8::7/128")
				received := make(chan netip.AddrPort, 100)
				c := sockettest.ListenIn(t, ns, udp.Config{Transparent: true}, "udp", local+":0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { received <- d.To() }))
				s := sockettest.ListenIn(t, ns, udp.Config{}, "udp", ":0", udp.BaseHandler{})
				at := netip.MustParseAddrPort(to)
				if at.Addr().Is6() && local != "" {
					continue
				}
				redirect(t, ns, c)
				n, err := s.SendBatch([]udp.Message{{Data: []byte("alone"), To: at}, {Data: []byte("a"), To: at}, {Data: []byte("b"), To: at}})
				require.NoError(t, err)
				require.Equal(t, 3, n)
				for range 3 {
					require.Equal(t, at, sockettest.Next(t, received), "on %s", c)
				}
			}
		}
	})
}
