//go:build !udpbasic

package sys

import (
	"bytes"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// gro is whether the kernel coalesces datagrams (UDP_GRO). It is switched on when a
// read has brought several datagrams of one sender in a row, which others might have
// come with in one packet, and when recvmmsg turns out to be rejected. Sockets without
// such traffic are spared the price: the first socket with UDP_GRO and the last one
// patch the kernel's code (a static key, about 100 microseconds), and each datagram
// costs a little more.
//
// It is also switched on before a user may get another descriptor of the socket: when
// the socket is adopted, after Config.Control, and in SyscallConn. Close restores the
// options that those have seen: see sharing.
type gro struct {
	state atomic.Int32
	mu    sync.Mutex // held while state and the option change, so that they agree
}

const (
	groMissing int32 = iota // or not wanted
	groWanted
	groOn
)

// minRun is how many datagrams a read has to bring before they are looked at.
const minRun = 4

// coalesce switches UDP_GRO on now, if it is wanted.
func (p *packetPath) coalesce(rc syscall.RawConn) {
	if p.gro.state.Load() != groWanted {
		return
	}
	p.gro.mu.Lock()
	defer p.gro.mu.Unlock()
	if p.gro.state.CompareAndSwap(groWanted, groOn) {
		if onFD(rc, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) }) != nil {
			p.gro.state.Store(groMissing) // a sandbox may allow to read the option only
		}
	}
}

// look switches UDP_GRO on if most of the n datagrams in b have the sender and the
// length of the one before.
func (p *packetPath) look(rc syscall.RawConn, b *batch, n int) {
	if n < minRun || p.gro.state.Load() != groWanted {
		return
	}
	alike := 0
	for i := 1; i < n; i++ {
		if b.hdrs[i].n == b.hdrs[i-1].n && bytes.Equal(b.name(i), b.name(i-1)) {
			alike++
		}
	}
	if alike >= n/2 {
		p.coalesce(rc)
	}
}
