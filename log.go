package udp

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/udpkit/udp/internal/sys"
)

// logInterval is how often one kind of record is written at most.
const logInterval = time.Second

// limitedLog logs errors that did not stop a socket, each kind at most once an
// interval, however many there are; the next record says how many were left out.
type limitedLog struct {
	to *slog.Logger // nil: panics only, to slog.Default

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

func (l *limitedLog) warn(c *Conn, message string, err error) {
	if l.to == nil {
		return
	}
	if omitted, ok := l.admit(logKind{message, sys.Classify(err)}); ok {
		l.write(l.to, c, slog.LevelWarn, message, omitted, slog.Any("error", err))
	}
}

// panicked takes the stack only for records that are written: it costs more than the
// panic itself, and a peer may be able to cause many.
func (l *limitedLog) panicked(c *Conn, callback string, v any) {
	to := l.to
	if to == nil {
		to = slog.Default()
	}
	message := "udp: panic in " + callback
	omitted, ok := l.admit(logKind{message: message})
	if !ok || !to.Enabled(context.Background(), slog.LevelError) {
		return
	}
	l.write(to, c, slog.LevelError, message, omitted, slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
}

// admit says whether a record may be written now, and how many of its kind were left
// out since the last one.
func (l *limitedLog) admit(kind logKind) (omitted int, ok bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.kinds[kind]
	if k == nil {
		if l.kinds == nil {
			l.kinds = make(map[logKind]*logged)
		}
		k = new(logged)
		l.kinds[kind] = k
	}
	if now.Before(k.next) {
		k.omitted++
		return 0, false
	}
	omitted = k.omitted
	k.next, k.omitted = now.Add(logInterval), 0
	return omitted, true
}

func (l *limitedLog) write(to *slog.Logger, c *Conn, level slog.Level, message string, omitted int, attrs ...slog.Attr) {
	attrs = append(attrs, slog.String("socket", c.String()))
	if omitted > 0 {
		attrs = append(attrs, slog.Int("omitted", omitted))
	}
	defer func() {
		if recover() != nil { // a panicking slog.Handler can't be logged
			c.stats.Panics.Add(1)
		}
	}()
	to.LogAttrs(context.Background(), level, message, attrs...)
}

// guard calls f, a callback, and contains its panic.
func (c *Conn) guard(name string, f func()) {
	defer func() {
		if v := recover(); v != nil {
			c.panicked(name, v)
		}
	}()
	f()
}

func (c *Conn) panicked(callback string, v any) {
	c.stats.Panics.Add(1)
	c.log.panicked(c, callback, v)
}
