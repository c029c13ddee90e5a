package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/udpkit/udp"
)

// Collector is a running collector: inputs, publisher, spool, stream, and whatever the
// configuration adds. Datagrams pass them in this order.
type Collector struct {
	cfg  Config
	log  *slog.Logger
	lock *flock.Flock // of cfg.Dir

	sources   []*source
	publisher *Publisher
	spool     *Spool
	stream    *Stream
	server    *server.Server // nil: the stream is elsewhere
	private   *private       // nil: no HTTP

	stopSync func() // ends the goroutine that syncs the spool
}

// options are what only tests and the command line set.
type options struct {
	takeover bool // from a process that has the directory: wait for its end
	sockets  udp.Config
	accepted func([]Record) // see Publisher
}

// start starts a collector. On error nothing is left running. With takeover the inputs
// open first, while the other process still has the directory: what arrives waits in
// this one when the other has left the ports.
func start(ctx context.Context, cfg Config, o options, log *slog.Logger) (_ *Collector, err error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	c := &Collector{cfg: cfg, log: log, publisher: newPublisher(log), stopSync: func() {}}
	c.publisher.accepted = o.accepted
	defer func() {
		if err != nil {
			c.abort()
		}
	}()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	c.lock = flock.New(filepath.Join(cfg.Dir, "lock"))
	// The counters exist before the spool is read or any datagram arrives.
	ids := newIDs()
	for _, in := range cfg.Inputs {
		s, err := newSource(in, cfg.NATS.Subject, c.publisher, ids)
		if err != nil {
			return nil, err
		}
		c.sources = append(c.sources, s)
	}
	steps := []func() error{
		func() error { return c.acquire(ctx, o.takeover) },
		c.open,
		func() error { return c.listen(ctx, o.sockets) },
	}
	if o.takeover {
		steps = []func() error{steps[2], steps[0], steps[1]}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if cfg.HTTP != "" {
		if c.private, err = servePrivate(cfg.HTTP, c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// acquire makes this process the only one that uses the directory.
func (c *Collector) acquire(ctx context.Context, wait bool) error {
	ok, err := c.lock.TryLock()
	if err == nil && !ok && wait {
		c.log.Info("waiting for the other collector to stop", "dir", c.cfg.Dir)
		ok, err = c.lock.TryLockContext(ctx, 20*time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("lock of %s: %w", c.cfg.Dir, err)
	}
	if !ok {
		return fmt.Errorf("another collector uses %s; -takeover waits for its end", c.cfg.Dir)
	}
	return nil
}

// open opens what is behind the inputs, and starts the publisher.
func (c *Collector) open() (err error) {
	if c.spool, err = openSpool(filepath.Join(c.cfg.Dir, "spool"), c.cfg.Spool, c.cfg.Sync, c.log); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if c.cfg.NATS.URL == "" {
		if c.server, err = startServer(&c.cfg, c.log); err != nil {
			return err
		}
	}
	if c.stream, err = openStream(c.cfg.NATS, c.server, c.log); err != nil {
		return fmt.Errorf("nats: %w", err)
	}
	c.publisher.start(c.stream, c.spool)
	if every := c.cfg.Sync.Every; every > 0 {
		c.syncEvery(every)
	}
	return nil
}

func (c *Collector) syncEvery(every time.Duration) {
	ticks := time.NewTicker(every)
	stop, done := make(chan struct{}), make(chan struct{})
	c.stopSync = func() {
		ticks.Stop()
		close(stop)
		<-done
	}
	go func() {
		defer close(done)
		for {
			select {
			case <-ticks.C:
				if err := c.spool.Sync(); err != nil {
					c.log.Error("the spool was not written to the disk", "error", err)
				}
			case <-stop:
				return
			}
		}
	}()
}

func (c *Collector) listen(ctx context.Context, sockets udp.Config) error {
	sockets.Logger = c.log
	for _, s := range c.sources {
		if err := s.listen(ctx, sockets); err != nil {
			return err
		}
		c.log.Info("listening", "input", s.input.Name, "format", s.input.Format,
			"address", s.group.LocalAddr(), "sockets", len(s.group.Conns()), "steering", s.group.Steering())
	}
	return nil
}

// Run waits until ctx ends or an input fails, and shuts the collector down.
func (c *Collector) Run(ctx context.Context) error {
	failed := make(chan error, len(c.sources))
	for _, s := range c.sources {
		go func() { failed <- s.group.Run(ctx, c.cfg.Grace) }() // leaves the port when ctx ends
	}
	first := <-failed // ends with ctx, or by itself
	return errors.Join(first, c.Shutdown())
}

// Shutdown stops the inputs, handles what they have received, and gives the stream what
// it takes within the grace period. The rest is in the spool. It logs what was lost.
func (c *Collector) Shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.Grace)
	defer cancel()
	var errs []error
	for _, s := range c.sources { // all leave their ports before any waits
		go func() { _ = s.group.Shutdown(ctx) }()
	}
	for _, s := range c.sources {
		if err := s.group.Shutdown(ctx); err != nil {
			errs = append(errs, fmt.Errorf("input %q: %w", s.input.Name, err))
		}
		<-s.group.Done()
	}
	c.publisher.shutdown(ctx)
	if c.private != nil {
		c.private.shutdown(ctx)
	}
	c.log.Info("stopped", "in the spool", c.spool.records.Load())
	return errors.Join(append(errs, c.release())...)
}

// release closes what the publisher used.
func (c *Collector) release() error {
	var err error
	if c.spool != nil {
		c.stopSync()
		err = c.spool.Close()
	}
	if c.server != nil {
		c.server.Shutdown()
		c.server.WaitForShutdown()
	}
	return errors.Join(err, c.lock.Close())
}

// abort undoes a start that failed.
func (c *Collector) abort() {
	for _, s := range c.sources {
		if s.group != nil {
			_ = s.group.Close()
		}
	}
	if c.publisher.stream == nil { // nobody takes what the workers put
		go func() {
			for range c.publisher.in {
			}
		}()
	}
	for _, s := range c.sources {
		if s.group != nil {
			<-s.group.Done()
		}
	}
	if c.publisher.stream != nil {
		ctx, cancel := context.WithTimeout(context.Background(), c.cfg.Grace)
		defer cancel()
		c.publisher.shutdown(ctx)
	} else {
		close(c.publisher.in)
	}
	if c.lock != nil {
		_ = c.release()
	}
}
