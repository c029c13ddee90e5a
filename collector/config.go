package main

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// Config is what the configuration file says, in TOML, over the defaults.
type Config struct {
	Dir   string        `toml:"dir"`   // state: the spool, the store of the embedded server, a lock
	HTTP  string        `toml:"http"`  // address of metrics and live pages; empty: none
	Sync  Sync          `toml:"sync"`  // when files are written to the disk itself
	Grace time.Duration `toml:"grace"` // how long a shutdown may take
	Spool SpoolConfig   `toml:"spool"`
	NATS  NATSConfig    `toml:"nats"`

	Inputs []Input `toml:"input"`
}

// Input is one port and what arrives there.
type Input struct {
	Name       string  `toml:"name"`        // part of the subject; the format unless set
	Format     string  `toml:"format"`      // one of formats
	Address    string  `toml:"address"`     // host:port
	Sockets    int     `toml:"sockets"`     // on the port; 0: one for each processor
	Workers    int     `toml:"workers"`     // goroutines that decode; 0: one for each processor
	ReadBuffer Size    `toml:"read_buffer"` // of each socket, in the kernel
	Malformed  string  `toml:"malformed"`   // "keep" what cannot be decoded, as it is, or "drop" it
	Rate       float64 `toml:"rate"`        // datagrams a second for each source prefix; 0: no limit
	Burst      int     `toml:"burst"`       // at once; 0: as many as Rate
	Templates  int     `toml:"templates"`   // of NetFlow v9 and IPFIX, kept at most
	Timezone   string  `toml:"timezone"`    // of RFC 3164 timestamps; the host's unless set
}

// NATSConfig says where the stream is.
type NATSConfig struct {
	URL         string        `toml:"url"`         // servers, separated by commas; empty: the embedded one
	Credentials string        `toml:"credentials"` // file of a user's JWT and seed
	CA          string        `toml:"ca"`          // file of certificates that the servers' are checked with
	Listen      string        `toml:"listen"`      // address of the embedded server; empty: none
	Token       string        `toml:"token"`       // that clients of the embedded server must present
	Stream      string        `toml:"stream"`      // name; made if there is none
	Subject     string        `toml:"subject"`     // first part of all subjects
	Replicas    int           `toml:"replicas"`    // of a stream that is made
	MaxBytes    Size          `toml:"max_bytes"`   // of a stream that is made
	MaxAge      time.Duration `toml:"max_age"`     // of a stream that is made; 0: no limit
	Discard     string        `toml:"discard"`     // a full stream refuses "new" messages, or deletes "old" ones
	Duplicates  time.Duration `toml:"duplicates"`  // how long the servers remember ids
	AckTimeout  time.Duration `toml:"ack_timeout"` // after which a message goes to the spool
}

// SpoolConfig bounds the files between the sockets and the stream.
type SpoolConfig struct {
	MaxBytes     Size `toml:"max_bytes"`
	SegmentBytes Size `toml:"segment_bytes"`
}

const (
	keepMalformed = "keep"
	dropMalformed = "drop"

	discardNew = "new"
	discardOld = "old"
)

// defaults returns the configuration of no file and no flags. Everything is on the
// loopback interface: opening ports to a network is a decision of the user.
func defaults() Config {
	return Config{
		Dir:   "collector-data",
		HTTP:  "127.0.0.1:9514",
		Sync:  Sync{Every: time.Second},
		Grace: 10 * time.Second,
		Spool: SpoolConfig{MaxBytes: 1 << 30, SegmentBytes: 16 << 20},
		NATS: NATSConfig{
			Listen: "127.0.0.1:4222", Stream: "UDP", Subject: "udp", Replicas: 1,
			MaxBytes: 8 << 30, Discard: discardNew, Duplicates: 30 * time.Second, AckTimeout: 5 * time.Second,
		},
		Inputs: []Input{
			{Format: "syslog", Address: "127.0.0.1:5514"},
			{Format: "statsd", Address: "127.0.0.1:8125"},
			{Format: "netflow", Address: "127.0.0.1:2055"},
			{Name: "ipfix", Format: "netflow", Address: "127.0.0.1:4739"},
			{Format: "raw", Address: "127.0.0.1:9999"},
		},
	}
}

// load reads a file over the defaults. Its inputs replace those of the defaults. An
// unknown key is an error: a misspelled limit would be no limit.
func load(file string) (Config, error) {
	cfg := defaults()
	if file == "" {
		return cfg, nil
	}
	inputs := cfg.Inputs
	cfg.Inputs = nil
	meta, err := toml.DecodeFile(file, &cfg)
	if err != nil {
		return cfg, fmt.Errorf("%s: %w", file, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return cfg, fmt.Errorf("%s: unknown key %s", file, unknown[0])
	}
	if cfg.Inputs == nil {
		cfg.Inputs = inputs
	}
	return cfg, nil
}

// addInput is for the flag -input format=address.
func addInput(inputs []Input, arg string) ([]Input, error) {
	format, address, ok := strings.Cut(arg, "=")
	if !ok {
		return nil, errors.New("want format=host:port")
	}
	name := format
	for n := 2; slices.ContainsFunc(inputs, func(in Input) bool { return in.Name == name }); n++ {
		name = format + strconv.Itoa(n)
	}
	return append(inputs, Input{Name: name, Format: format, Address: address}), nil
}

// token is what a part of a subject may be.
var token = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// check completes the configuration, and returns everything that is wrong in it.
func (cfg *Config) check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	address := func(key, s string) {
		if _, port, err := net.SplitHostPort(s); err != nil {
			wrong("%s: %w", key, err)
		} else if _, err := net.LookupPort("udp", port); err != nil {
			wrong("%s: %w", key, err)
		}
	}
	if cfg.Dir == "" {
		wrong("dir: must be set")
	}
	if cfg.HTTP != "" {
		address("http", cfg.HTTP)
	}
	if cfg.Grace <= 0 {
		wrong("grace: must be positive")
	}
	if cfg.Spool.SegmentBytes < 1<<20 || cfg.Spool.MaxBytes < cfg.Spool.SegmentBytes {
		wrong("spool: want 1MiB <= segment_bytes <= max_bytes")
	}
	if len(cfg.Inputs) == 0 {
		wrong("input: there is none")
	}
	names := make(map[string]bool)
	for i := range cfg.Inputs {
		in := &cfg.Inputs[i]
		if in.Name == "" {
			in.Name = in.Format
		}
		key := fmt.Sprintf("input %q: ", in.Name)
		if !token.MatchString(in.Name) {
			wrong("%sname: letters, digits, - and _ only", key)
		}
		if names[in.Name] {
			wrong("%sname: there are two", key)
		}
		names[in.Name] = true
		if _, ok := formats[in.Format]; !ok {
			wrong("%sformat: %q is none of %s", key, in.Format, strings.Join(slices.Sorted(maps.Keys(formats)), ", "))
		}
		address(key+"address", in.Address)
		if in.Malformed == "" {
			in.Malformed = keepMalformed
		}
		if in.Malformed != keepMalformed && in.Malformed != dropMalformed {
			wrong("%smalformed: want keep or drop", key)
		}
		if in.ReadBuffer == 0 {
			in.ReadBuffer = 4 << 20
		}
		if in.Templates == 0 {
			in.Templates = 4096
		}
		if in.Burst == 0 {
			in.Burst = max(1, int(in.Rate))
		}
		if in.Sockets < 0 || in.Workers < 0 || in.Templates < 0 || in.Rate < 0 || in.Burst < 0 || in.ReadBuffer < 0 {
			wrong("%snumbers must not be negative", key)
		}
		if _, err := in.location(); err != nil {
			wrong("%stimezone: %w", key, err)
		}
	}
	errs = append(errs, cfg.NATS.check(address)...)
	return errors.Join(errs...)
}

func (n *NATSConfig) check(address func(key, s string)) (errs []error) {
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("nats: "+format, args...)) }
	if n.URL == "" && n.Listen != "" {
		address("nats: listen", n.Listen)
	}
	for key, file := range map[string]string{"credentials": n.Credentials, "ca": n.CA} {
		if file != "" {
			if _, err := os.Stat(file); err != nil {
				wrong("%s: %w", key, err)
			}
		}
	}
	if !token.MatchString(n.Stream) {
		wrong("stream: letters, digits, - and _ only")
	}
	for part := range strings.SplitSeq(n.Subject, ".") {
		if !token.MatchString(part) {
			wrong("subject: letters, digits, - and _ only, separated by dots")
		}
	}
	if n.Replicas < 1 || n.URL == "" && n.Replicas != 1 {
		wrong("replicas: the embedded server keeps 1")
	}
	if n.Discard != discardNew && n.Discard != discardOld {
		wrong("discard: want new or old")
	}
	if n.MaxBytes < 0 || n.MaxAge < 0 {
		wrong("limits must not be negative")
	}
	if n.Duplicates < n.AckTimeout || n.AckTimeout <= 0 {
		wrong("want 0 < ack_timeout <= duplicates")
	}
	return errs
}

// location is what timestamps without a zone are in.
func (in *Input) location() (*time.Location, error) {
	if in.Timezone == "" {
		return time.Local, nil
	}
	return time.LoadLocation(in.Timezone)
}

// Size is a number of bytes: in a file an integer, or a string such as "64MiB".
type Size int64

// UnmarshalTOML implements toml.Unmarshaler.
func (s *Size) UnmarshalTOML(value any) error {
	switch v := value.(type) {
	case int64:
		*s = Size(v)
		return nil
	case string:
		for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
			if number, ok := strings.CutSuffix(v, unit); ok {
				n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
				shift := 10 * (i + 1)
				if err != nil || n<<shift>>shift != n {
					return fmt.Errorf("size %q", v)
				}
				*s = Size(n << shift)
				return nil
			}
		}
	}
	return fmt.Errorf("size %v: want bytes, or a string such as \"64MiB\"", value)
}

// Sync says when what was written to a file is written to the disk: before it counts
// as accepted, after an interval, or when the system likes.
type Sync struct {
	Always bool
	Every  time.Duration // 0: never
}

// MarshalText implements encoding.TextMarshaler.
func (s Sync) MarshalText() ([]byte, error) {
	switch {
	case s.Always:
		return []byte("always"), nil
	case s.Every == 0:
		return []byte("never"), nil
	}
	return []byte(s.Every.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Sync) UnmarshalText(text []byte) error {
	switch string(text) {
	case "always":
		*s = Sync{Always: true}
		return nil
	case "never":
		*s = Sync{}
		return nil
	}
	every, err := time.ParseDuration(string(text))
	if err != nil || every <= 0 {
		return fmt.Errorf("sync %q: want always, never or a duration such as 1s", text)
	}
	*s = Sync{Every: every}
	return nil
}
