// Package guard calls a user's functions. It recovers and counts their panics, and logs
// errors that do not stop the socket.
package guard

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/udpkit/udp/internal/sys"
)

// logInterval is the shortest time between two records of one kind.
const logInterval = time.Second

// A Guard belongs to one socket. It logs each kind of error at most once per interval.
// The next record reports how many were omitted.
type Guard struct {
	Logger *slog.Logger // nil: panics only, to slog.Default
	Panics *atomic.Uint64
	Socket fmt.Stringer

	mu    sync.Mutex // guards kinds
	kinds map[logKind]*logged
}

type logKind struct {
	message string
	class   sys.Class
}

type logged struct {
	next    time.Time
	omitted int
}

// Warn logs an error, unless there is no Logger.
func (g *Guard) Warn(message string, err error) {
	if g.Logger == nil {
		return
	}
	if omitted, ok := g.admit(logKind{message, sys.Classify(err)}); ok {
		g.write(g.Logger, slog.LevelWarn, message, omitted, slog.Any("error", err))
	}
}

// Panicked counts and logs a panic. It takes the stack only for records that are written,
// because that costs more than the panic itself, and a peer may cause many.
func (g *Guard) Panicked(callback string, v any) {
	g.Panics.Add(1)
	defer g.contain()
	to := g.Logger
	if to == nil {
		to = slog.Default()
	}
	message := "udp: panic in " + callback
	omitted, ok := g.admit(logKind{message: message})
	if !ok || !to.Enabled(context.Background(), slog.LevelError) {
		return
	}
	g.write(to, slog.LevelError, message, omitted, slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
}

// admit reports whether a record may be written now, and how many of its kind were
// omitted since the last one.
func (g *Guard) admit(kind logKind) (omitted int, ok bool) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	k := g.kinds[kind]
	if k == nil {
		if g.kinds == nil {
			g.kinds = make(map[logKind]*logged)
		}
		k = new(logged)
		g.kinds[kind] = k
	}
	if now.Before(k.next) {
		k.omitted++
		return 0, false
	}
	omitted = k.omitted
	k.next, k.omitted = now.Add(logInterval), 0
	return omitted, true
}

func (g *Guard) write(to *slog.Logger, level slog.Level, message string, omitted int, attrs ...slog.Attr) {
	attrs = append(attrs, slog.String("socket", g.Socket.String()))
	if omitted > 0 {
		attrs = append(attrs, slog.Int("omitted", omitted))
	}
	defer g.contain()
	to.LogAttrs(context.Background(), level, message, attrs...)
}

// contain recovers the panic of a slog.Handler, which can't be logged.
func (g *Guard) contain() {
	if recover() != nil {
		g.Panics.Add(1)
	}
}

// Call calls f, a callback, and contains its panic.
func (g *Guard) Call(callback string, f func()) {
	defer func() {
		if v := recover(); v != nil {
			g.Panicked(callback, v)
		}
	}()
	f()
}
