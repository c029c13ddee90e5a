package pcap

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
)

// Dump writes the packets in memory into a new file of a directory, udp-*.pcapng, that only its
// owner can read, and returns its path.
func (c *Capture) Dump(dir string) (path string, err error) {
	f, err := os.CreateTemp(dir, "udp-*.pcapng")
	if err != nil {
		return "", err
	}
	if err = c.WriteLast(f); err == nil {
		err = f.Close()
	} else {
		_ = f.Close()
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// maxPanics bounds the files after panics: a peer may be able to cause many.
const maxPanics = 10

// DumpOn calls Dump whenever the process gets one of the signals, such as SIGUSR1, and after the
// first 10 panics of the sockets' Handlers, until stop is called. It calls done, which may be nil,
// with the results, on a goroutine of its own. stop waits for a dump in progress.
//
//	stop := capture.DumpOn(os.TempDir(), nil, syscall.SIGUSR1)
func (c *Capture) DumpOn(dir string, done func(path string, err error), signals ...os.Signal) (stop func()) {
	dump := make(chan struct{}, 1)
	caught := make(chan os.Signal, 1)
	if len(signals) > 0 { // none means all
		signal.Notify(caught, signals...)
	}
	ended, finished := make(chan struct{}), make(chan struct{})
	c.mu.Lock()
	c.panics = dump
	c.mu.Unlock()
	go func() {
		defer close(finished)
		panics := 0
		for {
			select {
			case <-dump:
				if panics++; panics > maxPanics {
					continue
				}
			case <-caught:
			case <-ended:
				return
			}
			path, err := c.Dump(dir)
			if done != nil {
				done(path, err)
			}
		}
	}()
	return sync.OnceFunc(func() {
		signal.Stop(caught)
		c.mu.Lock()
		if c.panics == dump {
			c.panics = nil
		}
		c.mu.Unlock()
		close(ended)
		<-finished
	})
}

// panicked is called with locks of a socket held.
func (c *Capture) panicked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case c.panics <- struct{}{}:
	default: // there is nobody, or a dump is to come
	}
}

// DumpPanic calls Dump if the goroutine panics, and lets the panic continue. Defer it:
//
//	defer capture.DumpPanic(os.TempDir())
//
// The panic continues with a [*Panic], which prints the path too.
func (c *Capture) DumpPanic(dir string) {
	v := recover()
	if v == nil {
		return
	}
	path, err := c.Dump(dir)
	if err != nil {
		path = err.Error()
	}
	panic(&Panic{Value: v, Path: path})
}

// Panic is what DumpPanic panics with.
type Panic struct {
	Value any    // the original panic value
	Path  string // of the file, or the error why there is none
}

// Error describes the panic.
func (p *Panic) Error() string { return fmt.Sprintf("%v (last datagrams: %s)", p.Value, p.Path) }

// Unwrap returns the Value if it is an error.
func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}
