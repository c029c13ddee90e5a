package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func writeConfig(t *testing.T, text string) string {
	file := filepath.Join(t.TempDir(), "collector.toml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestConfigFile(t *testing.T) {
	cfg, err := load(writeConfig(t, `
		dir = "/var/lib/collector"
		sync = "always"
		grace = "3s"

		[spool]
		max_bytes = "2GiB"

		[nats]
		url = "nats://a:4222,nats://b:4222"
		replicas = 3

		[[input]]
		format = "syslog"
		address = "[::]:514"
		rate = 1000.0
		timezone = "UTC"
	`))
	require.NoError(t, err)
	require.NoError(t, cfg.check())
	require.Equal(t, "/var/lib/collector", cfg.Dir)
	require.Equal(t, Sync{Always: true}, cfg.Sync)
	require.Equal(t, 3*time.Second, cfg.Grace)
	require.Equal(t, SpoolConfig{MaxBytes: 2 << 30, SegmentBytes: defaults().Spool.SegmentBytes}, cfg.Spool)
	require.Equal(t, 3, cfg.NATS.Replicas)
	require.Equal(t, defaults().NATS.Stream, cfg.NATS.Stream)
	require.Len(t, cfg.Inputs, 1)
	require.Equal(t, "syslog", cfg.Inputs[0].Name)
	require.Equal(t, 1000, cfg.Inputs[0].Burst)
}

// The file in the README is one.
func TestReadmeConfig(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, after, ok := strings.Cut(string(text), "```toml\n")
	require.True(t, ok)
	file, _, _ := strings.Cut(after, "```")
	cfg, err := load(writeConfig(t, file))
	require.NoError(t, err)
	cfg.NATS.Credentials = writeConfig(t, "")
	require.NoError(t, cfg.check())
	require.Len(t, cfg.Inputs, 2)
}

// What -check prints is a configuration, with every default.
func TestCheckPrintsTheConfiguration(t *testing.T) {
	var printed bytes.Buffer
	file := writeConfig(t, `sync = "never"`)
	require.NoError(t, run(t.Context(), []string{"-config", file, "-check", "-http", "127.0.0.1:1"}, &printed, t.Output()))

	again, err := load(writeConfig(t, printed.String()))
	require.NoError(t, err)
	want, err := load(file)
	require.NoError(t, err)
	want.HTTP = "127.0.0.1:1"
	require.NoError(t, want.check())
	require.Equal(t, want, again)
}

func TestConfigErrors(t *testing.T) {
	for name, tc := range map[string]struct{ file, want string }{
		"unknown key":  {`sokets = 3`, "unknown key sokets"},
		"syntax":       {`sockets = `, "expected value"},
		"size":         {"[spool]\nmax_bytes = \"3 apples\"", "want bytes, or a string"},
		"size is big":  {"[spool]\nmax_bytes = \"9999999999TiB\"", "size"},
		"sync":         {`sync = "sometimes"`, "want always, never or a duration"},
		"spool":        {"[spool]\nmax_bytes = 1", "1MiB <= segment_bytes"},
		"format":       {"[[input]]\nformat = \"snmp\"\naddress = \":1\"", `"snmp" is none of netflow, raw, statsd, syslog`},
		"address":      {"[[input]]\nformat = \"raw\"\naddress = \"localhost\"", "missing port"},
		"name":         {"[[input]]\nname = \"a.b\"\nformat = \"raw\"\naddress = \":1\"", "letters, digits"},
		"two":          {strings.Repeat("[[input]]\nformat = \"raw\"\naddress = \":1\"\n", 2), "there are two"},
		"malformed":    {"[[input]]\nformat = \"raw\"\naddress = \":1\"\nmalformed = \"?\"", "keep or drop"},
		"timezone":     {"[[input]]\nformat = \"raw\"\naddress = \":1\"\ntimezone = \"Atlantis\"", "timezone"},
		"negative":     {"[[input]]\nformat = \"raw\"\naddress = \":1\"\nworkers = -1", "must not be negative"},
		"replicas":     {"[nats]\nreplicas = 3", "the embedded server keeps 1"},
		"credentials":  {"[nats]\ncredentials = \"/nonexistent\"", "no such file"},
		"subject":      {"[nats]\nsubject = \"a.>\"", "separated by dots"},
		"acknowledged": {"[nats]\nack_timeout = \"1m\"", "ack_timeout <= duplicates"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := load(writeConfig(t, tc.file))
			if err == nil {
				err = cfg.check()
			}
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestFlags(t *testing.T) {
	var printed bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-check", "-input", "raw=:1", "-input", "raw=:2", "-input", "syslog=:3"}, &printed, t.Output()))
	cfg, err := load(writeConfig(t, printed.String()))
	require.NoError(t, err)
	require.Len(t, cfg.Inputs, 3)
	require.Equal(t, "raw2", cfg.Inputs[1].Name)

	require.ErrorContains(t, run(t.Context(), []string{"-input", "raw"}, &printed, t.Output()), "want format=host:port")
	require.ErrorContains(t, run(t.Context(), []string{"extra"}, &printed, t.Output()), "unexpected argument")
	require.ErrorContains(t, run(t.Context(), []string{"-config", "/nonexistent"}, &printed, t.Output()), "no such file")
}
