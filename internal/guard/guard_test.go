package guard_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/guard"
)

type name string

func (n name) String() string { return string(n) }

func TestOneRecordASecondOfEachKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		g := guard.Guard{Logger: slog.New(slog.NewTextHandler(&out, nil)), Panics: new(atomic.Uint64), Socket: name("sock")}
		for range 3 {
			g.Warn("no luck", errors.New("bad"))
		}
		g.Call("Received", func() { panic("as meant") })
		require.Equal(t, 1, strings.Count(out.String(), "no luck"))
		require.Contains(t, out.String(), "panic in Received")
		require.Contains(t, out.String(), "socket=sock")
		require.EqualValues(t, 1, g.Panics.Load())
		time.Sleep(time.Second)
		g.Warn("no luck", errors.New("bad"))
		require.Contains(t, out.String(), "omitted=2")
	})
}

// A Handler of package slog that panics costs its record only.
func TestALoggerThatPanics(t *testing.T) {
	g := guard.Guard{Logger: slog.New(broken{}), Panics: new(atomic.Uint64), Socket: name("sock")}
	g.Call("Received", func() { panic("as meant") })
	require.EqualValues(t, 2, g.Panics.Load())
}

type broken struct{ slog.Handler }
