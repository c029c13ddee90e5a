package exchange

import (
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/udpkit/udp"
)

// The values that zero fields of a [Config] stand for.
const (
	DefaultAttempts        = 4
	DefaultMaxOutstanding  = 65536
	DefaultRetransmitRate  = 1000
	DefaultRetransmitBurst = 1000
)

// A Config describes a [Client]. Only Key is required. A Config is copied by [New].
type Config[K comparable] struct {
	// Key returns the identifier that a response shares with its request, such as the ID of a
	// DNS message or the transaction ID of STUN. It returns false for a payload without one. It
	// is called with requests, with responses, and with the beginnings of requests that ICMP
	// errors quote, on several goroutines at the same time. Anybody can send a payload of any
	// length, so it must check the length.
	Key func(payload []byte) (K, bool)

	// Match decides whether a response belongs to the request, for example because it has the
	// same DNS question or a valid authenticator. It is called for responses that have the right
	// key and come from the right address. One that it rejects is counted in Stats.Spoofed, and
	// the request continues to wait. It is called on the socket's goroutine and must not wait.
	// Nil accepts every response.
	Match func(request, response []byte) bool

	// Attempts is the maximum number of times a request is sent. Zero means [DefaultAttempts].
	Attempts int

	// Schedule returns how long to wait for a response after transmission number attempt, which
	// counts from 1. Nil means [Backoff](attempt): a second, doubled each time, with jitter.
	Schedule func(attempt int) time.Duration

	// RetransmitRate and RetransmitBurst bound the retransmissions of all requests together, in
	// datagrams per second and datagrams. They keep a busy client from multiplying its traffic
	// when a server fails. A retransmission beyond the bound is skipped and counted in
	// Stats.Suppressed; the request continues to wait. Zero means [DefaultRetransmitRate] and
	// [DefaultRetransmitBurst].
	RetransmitRate  float64
	RetransmitBurst int

	// MaxOutstanding bounds the requests that wait for a response. Zero means
	// [DefaultMaxOutstanding].
	MaxOutstanding int

	// SocketPerRequest sends each request from a socket of its own, which is connected to the
	// server and has a random port. Responses are harder to forge then, and ICMP errors arrive
	// on every system. It costs a few system calls and a file descriptor per request. Without
	// it, all requests share one socket, which the first request opens.
	SocketPerRequest bool

	// Network is "udp", "udp4" or "udp6"; "" means "udp".
	Network string

	// Socket is the configuration of the sockets. Its LocalAddr also applies to the shared
	// socket. On the shared socket the client sets PeerErrors where the system supports it.
	Socket udp.Config
}

// Backoff is the schedule of RFC 8085, section 3.1.1, for servers whose round-trip time is not
// known: a second after the first attempt, and twice as much after each further one. It adds up
// to half of that at random, so that the clients of a failed server do not all retransmit at the
// same time (as RFC 7252, section 4.2, does).
func Backoff(attempt int) time.Duration {
	wait := time.Second << min(max(attempt-1, 0), 10)
	return wait + rand.N(wait/2)
}

// A ConfigError reports a value that [New] cannot use. It is os.ErrInvalid for [errors.Is].
type ConfigError struct {
	Field  string // of Config, or Client if its zero value was used
	Reason string // what is wrong with it
}

// Error implements error.
func (e *ConfigError) Error() string { return fmt.Sprintf("exchange: %s %s", e.Field, e.Reason) }

// Unwrap returns os.ErrInvalid.
func (e *ConfigError) Unwrap() error { return os.ErrInvalid }

// Validate reports the first field that has an unusable value, as a [*ConfigError].
func (cfg Config[K]) Validate() error {
	switch {
	case cfg.Key == nil:
		return &ConfigError{"Key", "is nil"}
	case cfg.Attempts < 0:
		return &ConfigError{"Attempts", "is negative"}
	case !(cfg.RetransmitRate >= 0): // NaN is not either
		return &ConfigError{"RetransmitRate", "is negative"}
	case cfg.RetransmitBurst < 0:
		return &ConfigError{"RetransmitBurst", "is negative"}
	case cfg.MaxOutstanding < 0:
		return &ConfigError{"MaxOutstanding", "is negative"}
	}
	switch cfg.Network {
	case "", "udp", "udp4", "udp6":
		return nil
	}
	return &ConfigError{"Network", fmt.Sprintf("is %q, not udp, udp4 or udp6", cfg.Network)}
}

func (cfg Config[K]) withDefaults() Config[K] {
	orDefault(&cfg.Attempts, DefaultAttempts)
	orDefault(&cfg.RetransmitRate, DefaultRetransmitRate)
	orDefault(&cfg.RetransmitBurst, DefaultRetransmitBurst)
	orDefault(&cfg.MaxOutstanding, DefaultMaxOutstanding)
	orDefault(&cfg.Network, "udp")
	if cfg.Schedule == nil {
		cfg.Schedule = Backoff
	}
	return cfg
}

func orDefault[T comparable](value *T, d T) {
	var zero T
	if *value == zero {
		*value = d
	}
}
