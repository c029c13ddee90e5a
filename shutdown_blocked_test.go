package udp_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
	"github.com/udpkit/udp/udptest"
)

// blockingLog is a slog.Handler that does not return until it is released.
type blockingLog struct{ entered, release chan struct{} }

func (l blockingLog) Enabled(context.Context, slog.Level) bool { return true }
func (l blockingLog) Handle(context.Context, slog.Record) error {
	l.entered <- struct{}{}
	<-l.release
	return nil
}
func (l blockingLog) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l blockingLog) WithGroup(string) slog.Handler      { return l }

// Shutdown ends with its context, and Close returns at once, whatever of the user's
// blocks: a Logger, or an InterfaceFilter.
func TestShutdownEndsWhileALoggerOrAFilterBlocks(t *testing.T) {
	for _, blocks := range []string{"Logger", "InterfaceFilter"} {
		for _, end := range []string{"Shutdown", "Close"} {
			t.Run(blocks+", "+end, func(t *testing.T) {
				entered, release := make(chan struct{}, 100), make(chan struct{})
				n := udptest.NewNet(t, udptest.Config{})
				host := n.Host("h", "10.0.0.1/24")
				cfg := host.Config()
				var c *udp.Conn
				if blocks == "Logger" {
					cfg.Logger = slog.New(blockingLog{entered, release})
					var err error
					c, err = cfg.Listen(t.Context(), "udp4", ":0", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { panic("logged") }))
					require.NoError(t, err)
					require.NoError(t, c.SendTo(nil, sockettest.At("10.0.0.1", c.LocalAddrPort().Port())))
				} else {
					var once sync.Once
					started := make(chan struct{})
					cfg.InterfaceFilter = func(*net.Interface) bool {
						select {
						case <-started:
							once.Do(func() { entered <- struct{}{}; <-release })
						default:
						}
						return true
					}
					m, err := cfg.ListenMulticast(t.Context(), "udp4", ":0", udp.BaseHandler{}, netip.MustParseAddr("239.1.2.3"))
					require.NoError(t, err)
					close(started)
					host.Interface("eth0").SetDown(true)
					c = m.Conn
				}
				<-entered
				if end == "Shutdown" {
					ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
					defer cancel()
					if err := c.Shutdown(ctx); blocks == "Logger" { // else the reader is not the one that waits
						require.ErrorIs(t, err, context.DeadlineExceeded)
					}
				} else {
					require.NoError(t, c.Close())
				}
				close(release)
				<-c.Done()
				require.NoError(t, c.Err())
			})
		}
	}
}
