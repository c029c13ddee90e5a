package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Stream is the connection to the servers, and the stream there.
type Stream struct {
	cfg  NATSConfig
	log  *slog.Logger
	conn *nats.Conn
	js   jetstream.JetStream

	ready   atomic.Bool   // connected, and the stream is there
	changed chan struct{} // something has happened to the connection
	closed  chan struct{} // it is closed: no acknowledgment will come
	stop    chan struct{} // for the goroutine, prepare
	done    chan struct{} // it has ended
}

// openStream connects to cfg.URL, or within the process to an embedded server. It does
// not wait: the servers may be unreachable for now.
func openStream(cfg NATSConfig, embedded *server.Server, log *slog.Logger) (*Stream, error) {
	s := &Stream{
		cfg: cfg, log: log, changed: make(chan struct{}, 1), closed: make(chan struct{}),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	options := []nats.Option{
		nats.Name("udp collector"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.RetryOnFailedConnect(true),
		nats.ReconnectBufSize(-1), // no: the spool keeps what cannot be sent
		nats.ConnectHandler(func(*nats.Conn) { wakeUp(s.changed) }),
		nats.ReconnectHandler(func(*nats.Conn) { wakeUp(s.changed) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			s.ready.Store(false)
			if err != nil {
				log.Warn("disconnected from NATS", "error", err)
			}
		}),
		nats.ClosedHandler(func(*nats.Conn) { close(s.closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("NATS", "error", err)
		}),
	}
	if cfg.Credentials != "" {
		options = append(options, nats.UserCredentials(cfg.Credentials))
	}
	if cfg.CA != "" {
		options = append(options, nats.RootCAs(cfg.CA))
	}
	if embedded != nil {
		options = append(options, nats.InProcessServer(embedded), nats.Token(cfg.Token))
	}
	conn, err := nats.Connect(cfg.URL, options...)
	if err != nil {
		return nil, err
	}
	s.conn = conn
	s.js, err = jetstream.New(conn,
		jetstream.WithPublishAsyncMaxPending(2*window*maxBatch),
		jetstream.WithPublishAsyncTimeout(cfg.AckTimeout))
	if err != nil {
		conn.Close()
		return nil, err
	}
	wakeUp(s.changed)
	go s.prepare()
	return s, nil
}

// prepare looks for the stream whenever a connection was made, and makes it if there
// is none.
func (s *Stream) prepare() {
	defer close(s.done)
	retry := time.NewTimer(0)
	defer retry.Stop()
	failed := ""
	for {
		select {
		case <-s.stop:
			return
		case <-s.changed:
		case <-retry.C:
		}
		if s.ready.Load() || !s.conn.IsConnected() {
			continue
		}
		if err := s.find(); err != nil {
			if err.Error() != failed { // not each second
				failed = err.Error()
				s.log.Warn("the stream is not available", "stream", s.cfg.Stream, "error", err)
			}
			retry.Reset(time.Second)
			continue
		}
		failed = ""
		s.ready.Store(true)
		if !s.conn.IsConnected() { // since find: the handler may have come first
			s.ready.Store(false)
		}
		s.log.Info("the stream is available", "stream", s.cfg.Stream, "server", s.conn.ConnectedUrlRedacted())
	}
}

// find makes sure that there is a stream. One that exists stays as it is.
func (s *Stream) find() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second) // then it tries again
	defer cancel()
	subjects := s.cfg.Subject + ".>"
	found, err := s.js.Stream(ctx, s.cfg.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		discard := jetstream.DiscardNew
		if s.cfg.Discard == discardOld {
			discard = jetstream.DiscardOld
		}
		found, err = s.js.CreateStream(ctx, jetstream.StreamConfig{
			Name:        s.cfg.Stream,
			Description: "datagrams of the collector",
			Subjects:    []string{subjects},
			Storage:     jetstream.FileStorage,
			Replicas:    s.cfg.Replicas,
			MaxBytes:    int64(s.cfg.MaxBytes),
			MaxAge:      s.cfg.MaxAge,
			Discard:     discard,
			Duplicates:  s.cfg.Duplicates,
		})
	}
	if err != nil {
		return err
	}
	if cfg := found.CachedInfo().Config; cfg.NoAck {
		return fmt.Errorf("stream %s has no_ack set: the collector needs acknowledgements", cfg.Name)
	}
	return nil
}

// publish sends a record. The future says what becomes of it.
func (s *Stream) publish(r *Record) (jetstream.PubAckFuture, error) {
	// Without a responder at once: the record has a place in the spool meanwhile.
	return s.js.PublishMsgAsync(r.message(), jetstream.WithRetryAttempts(0), jetstream.WithExpectStream(s.cfg.Stream))
}

var errStreamClosed = errors.New("the connection to the stream is closed")

// await returns what has become of a record, and whether the stream had it before.
func (s *Stream) await(f jetstream.PubAckFuture) (duplicate bool, err error) {
	select {
	case ack := <-f.Ok():
		return ack.Duplicate, nil
	case err := <-f.Err():
		return false, err
	default:
	}
	select {
	case ack := <-f.Ok():
		return ack.Duplicate, nil
	case err := <-f.Err():
		return false, err
	case <-s.closed:
		return false, errStreamClosed
	}
}

// codes of errors of the servers, which the client library has no names for.
const tooLargeForStream = 10054

// permanent reports whether the servers will never take the record.
func permanent(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, nats.ErrMaxPayload) ||
		errors.As(err, &api) && api.ErrorCode == tooLargeForStream
}

// Close closes the connection. It waits for an answer about the stream: an embedded
// server that stops while it makes a stream would leave half of it.
func (s *Stream) Close() {
	s.ready.Store(false)
	close(s.stop)
	<-s.done
	s.conn.Close()
}
