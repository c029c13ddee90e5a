package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/udpkit/udp"
)

// memory is the memory of all idle sockets together, in bytes: the growth of the resident set, and
// of Go's heap and stacks in use, after garbage collections.
type memory struct {
	Sockets  int   `json:"sockets"`
	Resident int64 `json:"resident"`
	Heap     int64 `json:"heap"`
}

// idle opens sockets, sends one datagram to each, waits until all have received
// it, and measures the memory then.
func idle(ctx context.Context, a args, open func(received func()) (netip.AddrPort, func(), error)) (result, error) {
	if err := raiseFiles(a.sockets + 100); err != nil {
		return result{}, err
	}
	var got atomic.Int64
	all := make(chan struct{})
	received := func() {
		if got.Add(1) == int64(a.sockets) {
			close(all)
		}
	}
	sender, _, err := listenNet(a)
	if err != nil {
		return result{}, err
	}
	defer sender.Close()
	ports := make([]netip.AddrPort, a.sockets)
	closers := make([]func(), a.sockets)
	b := newPayload(a.size)
	before, err := measureMemory()
	if err != nil {
		return result{}, err
	}
	for i := range ports {
		if ports[i], closers[i], err = open(received); err != nil {
			return result{}, fmt.Errorf("socket %d: %w", i, err)
		}
	}
	for _, to := range ports {
		if _, err := sender.WriteToUDPAddrPort(b, to); err != nil {
			return result{}, err
		}
	}
	select {
	case <-all:
	case <-ctx.Done():
		return result{}, fmt.Errorf("%d of %d sockets received their datagram", got.Load(), a.sockets)
	}
	after, err := measureMemory()
	for _, f := range closers {
		f()
	}
	return result{
		Sent: uint64(a.sockets), Received: uint64(got.Load()),
		memory: &memory{Sockets: a.sockets, Resident: after.Resident - before.Resident, Heap: after.Heap - before.Heap},
	}, err
}

func measureMemory() (memory, error) {
	for range 3 { // it takes two to empty a pool
		runtime.GC()
	}
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return memory{}, err
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return memory{Resident: kib << 10, Heap: int64(m.HeapAlloc + m.StackInuse)}, nil
		}
	}
	return memory{}, fmt.Errorf("no VmRSS in /proc/self/status")
}

func raiseFiles(n int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = max(limit.Cur, uint64(n))
	limit.Max = max(limit.Max, limit.Cur)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("room for %d files: %w", n, err)
	}
	return nil
}

func idleCallback(ctx context.Context, a args, _ func(int)) (result, error) {
	return idle(ctx, a, func(received func()) (netip.AddrPort, func(), error) {
		h := udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { received() })
		c, err := udp.Listen(ctx, "udp4", localhost, h)
		if err != nil {
			return netip.AddrPort{}, nil, err
		}
		return c.LocalAddrPort(), func() { c.Close() }, nil
	})
}

// idleNet is the least that a Go program does: a blocked reader with a buffer of
// 2 KiB for each socket.
func idleNet(ctx context.Context, a args, _ func(int)) (result, error) {
	return idle(ctx, a, func(received func()) (netip.AddrPort, func(), error) {
		uc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return netip.AddrPort{}, nil, err
		}
		go func() {
			b := make([]byte, 2048)
			for {
				if _, _, err := uc.ReadFromUDPAddrPort(b); err != nil {
					return
				}
				received()
			}
		}()
		return uc.LocalAddr().(*net.UDPAddr).AddrPort(), func() { uc.Close() }, nil
	})
}
