//go:build !udpbasic

package sys

import (
	"bytes"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// gro is the state of UDP_GRO, by which the kernel coalesces datagrams. It is enabled when a
// read has returned several datagrams of one sender in a row, which the kernel could have
// coalesced, and when recvmmsg is rejected. Sockets without such traffic save its cost: each
// datagram takes a little longer, and the first and the last socket with UDP_GRO make the
// kernel patch its code (a static key, about 100 microseconds).
//
// It is also enabled before a user may get another descriptor of the socket: when the socket
// is adopted, after Config.Control, and in SyscallConn. Close restores the options that those
// users have seen: see sharing.
type gro struct {
	state atomic.Int32
	mu    sync.Mutex // held while state and the option change, so that they agree
}

const (
	groMissing int32 = iota // or not wanted
	groWanted
	groOn
)

// minRun is the least number of datagrams of a read for which look compares them.
const minRun = 4

// coalesce enables UDP_GRO, if it is wanted.
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

// look enables UDP_GRO if most of the n datagrams in b have the sender and the length of the
// datagram before.
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
