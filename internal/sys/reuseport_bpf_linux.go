package sys

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Both programs choose a member by a hash of the flow, modulo the number of members at the
// start. If that member has left, they hash the hash and choose again. So a flow stays on its
// member until that member leaves, whichever others leave.

// rounds bounds how often they choose. A flow without a member after that is left to the
// kernel's hash (eBPF) or gets the first member (cBPF). After half of the members have left,
// that is one flow of 256.
const rounds = 8

// againFactor and againIncrement are a linear congruential generator (Numerical
// Recipes, 7.1), which makes the next hash. Its lowest bits are not random enough.
const (
	againFactor    = 1664525
	againIncrement = 1013904223
	againShift     = 8
)

// classic is a program of classic BPF (linux/filter.h) that is being written.
type classic []unix.SockFilter

// maxClassic is BPF_MAXINSNS, the most instructions of a program.
const maxClassic = 4096

func (p *classic) add(code uint16, k uint32) {
	*p = append(*p, unix.SockFilter{Code: code, K: k})
}

// unless skips skip instructions if A is not k.
func (p *classic) unless(k uint32, skip int) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: uint8(skip)})
}

// slotProgram returns a program whose result is a place in the array of sockets. slots has
// the member in each place; n is the number of members at the start. A read beyond the
// packet ends the program with place 0.
func slotProgram(n int, slots []int, left []bool) []unix.SockFilter {
	var p classic
	p.hashFlow()
	places := make([]int, n) // by member
	for i := range places {
		places[i] = -1
	}
	first, all := 0, len(slots) == n
	for place, member := range slots {
		all = all && place == member && !left[member]
		if !left[member] {
			places[member], first = place, place
		}
	}
	times := max(1, min(rounds, (maxClassic-len(p)-6*rounds)/(2*n)))
	for i := range times {
		if i > 0 {
			p.add(unix.BPF_LD|unix.BPF_MEM, kept)
			p.add(unix.BPF_ALU|unix.BPF_MUL|unix.BPF_K, againFactor)
			p.add(unix.BPF_ALU|unix.BPF_ADD|unix.BPF_K, againIncrement)
			p.add(unix.BPF_ST, kept)
		}
		p.add(unix.BPF_ALU|unix.BPF_RSH|unix.BPF_K, againShift)
		p.add(unix.BPF_ALU|unix.BPF_MOD|unix.BPF_K, uint32(n))
		if all {
			p.add(unix.BPF_RET|unix.BPF_A, 0)
			return p
		}
		for member, place := range places {
			if place >= 0 {
				p.unless(uint32(member), 1)
				p.add(unix.BPF_RET|unix.BPF_K, uint32(place))
			}
		}
	}
	p.add(unix.BPF_RET|unix.BPF_K, uint32(first))
	return p
}

const (
	kept   = 0                // the memory word with the hash
	netOff = 1<<32 - 0x100000 // SKF_NET_OFF, which is added to offsets in the IP header
)

// hashFlow leaves a hash of the peer's address and port in A and in memory. With IPv6
// the port is only known where no extension header precedes UDP's; other flows of one
// address share a member.
func (p *classic) hashFlow() {
	var v4, v6 classic
	v4.add(unix.BPF_LD|unix.BPF_ABS|unix.BPF_W, netOff+12) // the source
	v4.mix()
	v4.add(unix.BPF_LDX|unix.BPF_MSH|unix.BPF_B, netOff) // X = the length of the header
	v4.add(unix.BPF_LD|unix.BPF_IND|unix.BPF_H, netOff)  // the source port
	v4.mix()

	for off := uint32(8); off < 24; off += 4 {
		v6.add(unix.BPF_LD|unix.BPF_ABS|unix.BPF_W, netOff+off)
		v6.mix()
	}
	var port classic
	port.add(unix.BPF_LD|unix.BPF_ABS|unix.BPF_H, netOff+40)
	port.mix()
	v6.add(unix.BPF_LD|unix.BPF_ABS|unix.BPF_B, netOff+6) // the next header
	v6.unless(unix.IPPROTO_UDP, len(port))
	v6 = append(v6, port...)
	v6.add(unix.BPF_JMP|unix.BPF_JA, uint32(len(v4)))

	p.add(unix.BPF_LD|unix.BPF_IMM, 0)
	p.add(unix.BPF_ST, kept)
	p.add(unix.BPF_LD|unix.BPF_ABS|unix.BPF_B, netOff)
	p.add(unix.BPF_ALU|unix.BPF_RSH|unix.BPF_K, 4) // the version
	p.unless(6, len(v6))
	*p = append(append(*p, v6...), v4...)

	// The finalizer of MurmurHash3, so that each bit depends on all bits.
	p.add(unix.BPF_LD|unix.BPF_MEM, kept)
	for _, step := range [...]struct{ shift, factor uint32 }{{16, 0x85ebca6b}, {13, 0xc2b2ae35}, {16, 1}} {
		p.add(unix.BPF_MISC|unix.BPF_TAX, 0)
		p.add(unix.BPF_ALU|unix.BPF_RSH|unix.BPF_K, step.shift)
		p.add(unix.BPF_ALU|unix.BPF_XOR|unix.BPF_X, 0)
		p.add(unix.BPF_ALU|unix.BPF_MUL|unix.BPF_K, step.factor)
	}
	p.add(unix.BPF_ST, kept)
}

// mix adds A to the hash in memory.
func (p *classic) mix() {
	p.add(unix.BPF_LDX|unix.BPF_MEM, kept)
	p.add(unix.BPF_ALU|unix.BPF_ADD|unix.BPF_X, 0)
	p.add(unix.BPF_ALU|unix.BPF_MUL|unix.BPF_K, 0x9e3779b1) // 2^32 by the golden ratio
	p.add(unix.BPF_ST, kept)
}

// newSockArray makes a map of n sockets.
func newSockArray(n int) (fd int, err error) {
	attr := struct{ kind, keySize, valueSize, maxEntries, flags uint32 }{
		unix.BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, 4, 4, uint32(n), 0,
	}
	return bpf(unix.BPF_MAP_CREATE, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
}

// setSock puts a socket into the map. The kernel removes it when the socket leaves the array
// of its port.
func setSock(m, i, sock int) error {
	var pins runtime.Pinner
	defer pins.Unpin()
	key, value := uint32(i), uint32(sock)
	attr := struct {
		mapFD             uint32
		_                 uint32
		key, value, flags uint64
	}{mapFD: uint32(m), key: pinned(&pins, &key), value: pinned(&pins, &value)}
	_, err := bpf(unix.BPF_MAP_UPDATE_ELEM, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

// loadMapProgram loads a program that chooses from the n sockets of a map.
func loadMapProgram(m, n int) (fd int, err error) {
	var pins runtime.Pinner
	defer pins.Unpin()
	p := mapProgram(m, n)
	license := [...]byte{'A', 'p', 'a', 'c', 'h', 'e', 0}
	attr := struct {
		kind, count           uint32
		instructions, license uint64
		logLevel, logSize     uint32
		log                   uint64
		kernel, flags         uint32
	}{
		kind: unix.BPF_PROG_TYPE_SK_REUSEPORT, count: uint32(len(p)),
		instructions: pinned(&pins, &p[0]), license: pinned(&pins, &license[0]),
	}
	return bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
}

// pinned returns a pointer for a structure that the kernel reads.
func pinned[T any](pins *runtime.Pinner, p *T) uint64 {
	pins.Pin(p)
	return uint64(uintptr(unsafe.Pointer(p)))
}

// bpf is bpf(2).
func bpf(command int, attr unsafe.Pointer, size uintptr) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(command), uintptr(attr), size)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// instruction is struct bpf_insn, without its bit field.
type instruction struct {
	code, registers uint8
	off             int16
	imm             int32
}

// Registers, and constants of linux/bpf.h that package unix does not have.
const (
	r0, r1, r2, r3, r4, r6, r7, r10 = 0, 1, 2, 3, 4, 6, 7, 10

	selectReuseport = 82   // BPF_FUNC_sk_select_reuseport
	pass            = 1    // SK_PASS
	hashOffset      = 32   // of hash in struct sk_reuseport_md
	double          = 0x18 // BPF_DW
	mov             = 0xb0 // BPF_MOV
	call            = 0x80 // BPF_CALL
	exit            = 0x90 // BPF_EXIT
)

// mapProgram uses the kernel's hash over both addresses and ports, which is computed before
// the program runs.
func mapProgram(m, n int) (p []instruction) {
	op := func(code uint8, dst, src uint8, off int16, imm int32) {
		registers := dst | src<<4
		if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
			registers = dst<<4 | src
		}
		p = append(p, instruction{code, registers, off, imm})
	}
	alu := func(operation uint8, dst uint8, imm int32) { op(unix.BPF_ALU|operation|unix.BPF_K, dst, 0, 0, imm) }
	move := func(dst, src uint8) { op(unix.BPF_ALU64|mov|unix.BPF_X, dst, src, 0, 0) }

	move(r6, r1)
	op(unix.BPF_LDX|unix.BPF_MEM|unix.BPF_W, r7, r6, hashOffset, 0)
	for i := range rounds {
		if i > 0 {
			alu(unix.BPF_MUL, r7, againFactor)
			alu(unix.BPF_ADD, r7, againIncrement)
		}
		move(r2, r7)
		alu(unix.BPF_RSH, r2, againShift)
		alu(unix.BPF_MOD, r2, int32(n))
		op(unix.BPF_STX|unix.BPF_MEM|unix.BPF_W, r10, r2, -4, 0)
		move(r1, r6)
		op(unix.BPF_LD|unix.BPF_IMM|double, r2, unix.BPF_PSEUDO_MAP_FD, 0, int32(m))
		op(0, 0, 0, 0, 0) // the upper half
		move(r3, r10)
		op(unix.BPF_ALU64|unix.BPF_ADD|unix.BPF_K, r3, 0, 0, -4)
		op(unix.BPF_ALU64|mov|unix.BPF_K, r4, 0, 0, 0)
		op(unix.BPF_JMP|call, 0, 0, 0, selectReuseport)
		op(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, r0, 0, 0, 0) // to the end; see below
	}
	end := len(p)
	for i := range p {
		if p[i].code == unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K {
			p[i].off = int16(end - i - 1)
		}
	}
	op(unix.BPF_ALU64|mov|unix.BPF_K, r0, 0, 0, pass) // without a choice: the kernel's hash
	op(unix.BPF_JMP|exit, 0, 0, 0, 0)
	return p
}
