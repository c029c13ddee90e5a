package session

import (
	"fmt"
	"os"
	"time"

	"github.com/udpkit/udp"
)

// The values that zero fields of a [Config] stand for.
const (
	DefaultIdleTimeout = time.Minute
	DefaultMaxSessions = 16384
	DefaultBacklog     = 128
	DefaultReadBuffer  = 64 << 10
)

// A Config describes the sessions of a socket. The zero value is useful. A Config is copied by
// the functions that take it.
type Config struct {
	// Socket is the configuration of the socket that [Config.Listen] opens. Listen also sets
	// its PeerErrors where the system supports that. [Handler] uses only its Logger, which gets
	// the panics in Stopped of sessions.
	Socket udp.Config

	// IdleTimeout ends a session after this long without a datagram from the peer. Among many
	// sessions, it may take a sixteenth longer. Datagrams sent to the peer do not extend the
	// session; otherwise a program could keep sending to a host that no longer exists. Zero
	// means [DefaultIdleTimeout].
	IdleTimeout time.Duration

	// MaxSessions bounds the sessions of one socket. Zero means [DefaultMaxSessions]. When all
	// places are taken, a new peer evicts the unconfirmed session that was idle for longest. If
	// all sessions are confirmed, its datagram is dropped.
	//
	// A session is confirmed once the peer has sent another datagram after the program sent
	// one. A sender with a forged address does not see what is sent to it. To confirm a
	// session, it has to guess when to send the second datagram.
	MaxSessions int

	// Backlog bounds the sessions of a [Listener] that wait for Accept. Zero means
	// [DefaultBacklog]. While it is full, datagrams of new peers are dropped. [Handler] has no
	// backlog.
	Backlog int

	// ReadBuffer bounds the bytes that wait to be read from one [Conn]: the payloads, plus two
	// bytes for each. Zero means [DefaultReadBuffer]. A datagram that does not fit is dropped.
	// An empty buffer accepts a datagram of any size. Memory is allocated only while datagrams
	// wait.
	ReadBuffer int

	// Accept decides whether a datagram of an unknown peer begins a session. It is called on
	// the socket's goroutine, before the session has any state, and must not wait. It may call
	// d.Reply, for example with a token that the peer has to return before it is accepted. Nil
	// accepts all.
	Accept func(d udp.Datagram) bool
}

// A ConfigError reports a value that a function of this package cannot use. It is os.ErrInvalid
// for [errors.Is].
type ConfigError struct {
	Field  string // a field of Config, a parameter, or a type whose zero value was used
	Reason string // what is wrong with it
}

// Error implements error.
func (e *ConfigError) Error() string { return fmt.Sprintf("session: %s %s", e.Field, e.Reason) }

// Unwrap returns os.ErrInvalid.
func (e *ConfigError) Unwrap() error { return os.ErrInvalid }

// Validate reports the first field that has an unusable value, as a [*ConfigError].
func (cfg Config) Validate() error {
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"IdleTimeout", int64(cfg.IdleTimeout)},
		{"MaxSessions", int64(cfg.MaxSessions)},
		{"Backlog", int64(cfg.Backlog)},
		{"ReadBuffer", int64(cfg.ReadBuffer)},
	} {
		if f.value < 0 {
			return &ConfigError{f.name, "is negative"}
		}
	}
	return nil
}

func (cfg Config) withDefaults() Config {
	orDefault(&cfg.IdleTimeout, DefaultIdleTimeout)
	cfg.IdleTimeout = min(cfg.IdleTimeout, 1<<62) // 146 years, so that adding it to a time does not overflow
	orDefault(&cfg.MaxSessions, DefaultMaxSessions)
	orDefault(&cfg.Backlog, DefaultBacklog)
	orDefault(&cfg.ReadBuffer, DefaultReadBuffer)
	return cfg
}

func orDefault[T int | time.Duration](value *T, d T) {
	if *value == 0 {
		*value = d
	}
}
