package limit

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/time/rate"
)

// The values that zero fields of a [Config] stand for.
const (
	DefaultIPv4Prefix    = 24
	DefaultIPv6Prefix    = 56
	DefaultMaxSources    = 65536
	DefaultAmplification = 3
	DefaultValidFor      = time.Minute
)

// A Config describes a [Limiter]. Rate and Burst are required. A Config is copied by [New].
type Config struct {
	// Rate is how many datagrams per second are admitted from one source, and Burst how many
	// at once.
	Rate  rate.Limit
	Burst int

	// IPv4Prefix and IPv6Prefix are the lengths, in bits, of the prefixes that count as one
	// source. Zero means [DefaultIPv4Prefix] and [DefaultIPv6Prefix].
	IPv4Prefix, IPv6Prefix int

	// OverflowRate and OverflowBurst are shared by the sources for which the table has no room.
	// Zero means Rate and Burst.
	OverflowRate  rate.Limit
	OverflowBurst int

	// MaxSources bounds three tables: of sources, of addresses that Reply may send to, and of
	// validated addresses. Zero means [DefaultMaxSources]. A source and its address take
	// about 0.3 KiB.
	MaxSources int

	// Amplification is how many bytes Reply may send to an address that is not validated, for
	// each byte of payload that came from it. Zero means [DefaultAmplification].
	Amplification float64

	// ValidFor is how long an address stays validated after its last datagram. Zero means
	// [DefaultValidFor].
	ValidFor time.Duration
}

// A ConfigError reports a value that [New] cannot use. It is os.ErrInvalid for [errors.Is].
type ConfigError struct {
	Field  string // of Config, or a parameter
	Reason string // what is wrong with it
}

// Error implements error.
func (e *ConfigError) Error() string { return fmt.Sprintf("limit: %s %s", e.Field, e.Reason) }

// Unwrap returns os.ErrInvalid.
func (e *ConfigError) Unwrap() error { return os.ErrInvalid }

// Validate reports the first field that has an unusable value, as a [*ConfigError].
func (cfg Config) Validate() error {
	switch {
	case !(cfg.Rate > 0): // NaN is not either
		return &ConfigError{"Rate", "is not positive"}
	case cfg.Burst <= 0:
		return &ConfigError{"Burst", "is not positive"}
	case cfg.IPv4Prefix < 0 || cfg.IPv4Prefix > 32:
		return &ConfigError{"IPv4Prefix", "is not from 0 to 32"}
	case cfg.IPv6Prefix < 0 || cfg.IPv6Prefix > 128:
		return &ConfigError{"IPv6Prefix", "is not from 0 to 128"}
	case !(cfg.OverflowRate >= 0):
		return &ConfigError{"OverflowRate", "is negative"}
	case cfg.OverflowBurst < 0:
		return &ConfigError{"OverflowBurst", "is negative"}
	case cfg.MaxSources < 0:
		return &ConfigError{"MaxSources", "is negative"}
	case !(cfg.Amplification >= 0):
		return &ConfigError{"Amplification", "is negative"}
	case cfg.ValidFor < 0:
		return &ConfigError{"ValidFor", "is negative"}
	}
	return nil
}

func (cfg Config) withDefaults() Config {
	orDefault(&cfg.IPv4Prefix, DefaultIPv4Prefix)
	orDefault(&cfg.IPv6Prefix, DefaultIPv6Prefix)
	orDefault(&cfg.OverflowRate, cfg.Rate)
	orDefault(&cfg.OverflowBurst, cfg.Burst)
	orDefault(&cfg.MaxSources, DefaultMaxSources)
	orDefault(&cfg.Amplification, DefaultAmplification)
	orDefault(&cfg.ValidFor, DefaultValidFor)
	return cfg
}

func orDefault[T comparable](value *T, d T) {
	var zero T
	if *value == zero {
		*value = d
	}
}
