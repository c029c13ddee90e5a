package udp

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/udpkit/udp/internal/sys"
)

// logInterval is how often one kind of record is written at the most.
const logInterval = time.Second

// limitedLog writes what a socket survived, each kind at most once an interval,
// however many there are; the next record says how many were left out.
type limitedLog struct {
	to *slog.Logger // nil: silent

	mu    sync.Mutex
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
	l.write(c, slog.LevelWarn, logKind{message, sys.Classify(err)}, slog.Any("error", err))
}

func (l *limitedLog) panicked(c *Conn, callback string, v any, stack []byte) {
	l.write(c, slog.LevelError, logKind{message: "udp: panic in " + callback},
		slog.Any("panic", v), slog.String("stack", string(stack)))
}

func (l *limitedLog) write(c *Conn, level slog.Level, kind logKind, attrs ...slog.Attr) {
	if l.to == nil {
		return
	}
	now := time.Now()
	l.mu.Lock()
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
		l.mu.Unlock()
		return
	}
	omitted := k.omitted
	k.next, k.omitted = now.Add(logInterval), 0
	l.mu.Unlock()

	attrs = append(attrs, slog.String("socket", c.String()))
	if omitted > 0 {
		attrs = append(attrs, slog.Int("omitted", omitted))
	}
	defer func() {
		if recover() != nil { // what it says can't be logged
			c.stats.panics.Add(1)
		}
	}()
	l.to.LogAttrs(context.Background(), level, kind.message, attrs...)
}
