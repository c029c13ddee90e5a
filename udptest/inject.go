package udptest

import (
	"fmt"
	"os"
	"slices"
)

// op is the operation that an injected error is for.
type op int

const (
	opRead op = iota
	opSend
)

type injection struct {
	op   op
	port uint16 // 0: any
	left int    // calls until it is returned, itself included
	err  error
}

// FailRead makes the nth read from now fail with err, as if the kernel had returned it. Number
// 1 is the next read; on an idle socket that is the read which waits. Reads are counted on the
// sockets of one port, or on all sockets of the host if port is 0. No datagram is lost: the
// next read returns what this one would have.
func (h *Host) FailRead(port uint16, nth int, err error) {
	h.net.t.Helper()
	h.addInjection(opRead, port, nth, err)
}

// FailSend makes the nth send from now fail with err, like [Host.FailRead]. The datagram is not
// sent. Package udp repeats a send after some errors; each repetition counts as a send.
func (h *Host) FailSend(port uint16, nth int, err error) {
	h.net.t.Helper()
	h.addInjection(opSend, port, nth, err)
}

func (h *Host) addInjection(o op, port uint16, nth int, err error) {
	h.net.t.Helper()
	h.net.locked(func() error {
		switch {
		case nth < 1:
			return fmt.Errorf("udptest: %s: FailRead or FailSend of call number %d", h.name, nth)
		case err == nil:
			return fmt.Errorf("udptest: %s: FailRead or FailSend with a nil error", h.name)
		}
		h.injected = append(h.injected, &injection{o, port, nth, err})
		h.injecting.Store(true)
		h.interrupt()
		return nil
	})
}

// interrupt wakes one socket for each error that applies to an idle read: the one that was
// opened first. The caller holds the network's lock.
func (h *Host) interrupt() {
	for _, i := range h.injected {
		var first *sock
		for port, socks := range h.ports.all {
			for _, s := range socks {
				if i.op == opRead && i.left <= 1 && (i.port == 0 || i.port == port) && (first == nil || s.id < first.id) {
					first = s
				}
			}
		}
		if first != nil {
			signal(first.readable)
		}
	}
}

// interrupted returns the error of a read that has found nothing, or nil.
func (h *Host) interrupted(port uint16) error {
	if !h.injecting.Load() {
		return nil
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	for _, i := range h.injected {
		if i.op == opRead && i.left <= 1 && (i.port == 0 || i.port == port) {
			return h.injectLocked(opRead, port)
		}
	}
	return nil
}

// inject counts a call and returns its error, or nil.
func (h *Host) inject(o op, port uint16) error {
	if !h.injecting.Load() {
		return nil
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return h.injectLocked(o, port)
}

func (h *Host) injectLocked(o op, port uint16) (err error) {
	if len(h.injected) == 0 {
		return nil
	}
	h.injected = slices.DeleteFunc(h.injected, func(i *injection) bool {
		if i.op != o || i.port != 0 && i.port != port {
			return false
		}
		i.left--
		if i.left > 0 || err != nil {
			return false
		}
		err = i.err
		return true
	})
	h.injecting.Store(len(h.injected) > 0)
	if e, ok := err.(errno); ok {
		call := "recvmsg"
		if o == opSend {
			call = "sendmsg"
		}
		err = os.NewSyscallError(call, e)
	}
	return err
}
