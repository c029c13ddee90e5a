package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startServer starts a NATS server with JetStream in this process.
func startServer(cfg *Config, log *slog.Logger) (*server.Server, error) {
	options := &server.Options{
		ServerName:             "udp-collector",
		JetStream:              true,
		StoreDir:               filepath.Join(cfg.Dir, "stream"),
		SyncAlways:             cfg.Sync.Always,
		SyncInterval:           cfg.Sync.Every,
		Authorization:          cfg.NATS.Token,
		NoSigs:                 true,
		DontListen:             cfg.NATS.Listen == "",
		DisableJetStreamBanner: true,
	}
	if cfg.NATS.Listen != "" {
		host, port, err := net.SplitHostPort(cfg.NATS.Listen)
		if err != nil {
			return nil, err
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			n = server.RANDOM_PORT
		}
		options.Host, options.Port = host, n
		// The server itself would only log that the port is in use.
		l, err := net.Listen("tcp", cfg.NATS.Listen)
		if err != nil {
			return nil, fmt.Errorf("embedded server: %w", err)
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	s, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("embedded server: %w", err)
	}
	s.SetLoggerV2(serverLog{log.With("of", "nats-server")}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, errors.New("embedded server: not ready after 10 s: see the log")
	}
	return s, nil
}

// serverLog passes on what a server logs of importance.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l serverLog) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l serverLog) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l serverLog) Fatalf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l serverLog) Debugf(string, ...any)           {}
func (l serverLog) Tracef(string, ...any)           {}
