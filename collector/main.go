// Collector receives syslog, statsd, NetFlow, IPFIX and raw datagrams and stores them in
// a stream of NATS JetStream. What it has accepted is not lost: see README.md.
//
//	collector [-config file] [-check] [-takeover] [-dir directory] [-http address]
//	          [-nats urls] [-input format=address]... [-v]
//
// Without arguments it listens on the loopback interface and has a NATS server inside.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/BurntSushi/toml"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "collector:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("collector", flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("config", "", "configuration `file`, in TOML; flags overrule it")
	check := flags.Bool("check", false, "check the configuration, print it whole, and exit")
	takeover := flags.Bool("takeover", false, "open the ports beside a collector that stops, and wait for its directory")
	dir := flags.String("dir", "", "`directory` of the spool and of the embedded server")
	http := flags.String("http", "", "`address` of metrics and live pages")
	nats := flags.String("nats", "", "`URLs` of NATS servers, separated by commas; the embedded one unless set")
	var inputs []Input
	flags.Func("input", "`format=host:port`; may be repeated, and replaces the configured inputs", func(arg string) (err error) {
		inputs, err = addInput(inputs, arg)
		return err
	})
	verbose := flags.Bool("v", false, "log more")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	cfg, err := load(*file)
	if err != nil {
		return err
	}
	flags.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "dir":
			cfg.Dir = *dir
		case "http":
			cfg.HTTP = *http
		case "nats":
			cfg.NATS.URL = *nats
		case "input":
			cfg.Inputs = inputs
		}
	})
	if *check {
		if err := cfg.check(); err != nil {
			return err
		}
		return toml.NewEncoder(stdout).Encode(cfg)
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	c, err := start(ctx, cfg, options{takeover: *takeover}, log)
	if err != nil {
		return err
	}
	if c.server != nil && c.cfg.NATS.Listen != "" {
		log.Info("NATS", "url", c.server.ClientURL(), "stream", cfg.NATS.Stream)
	}
	if c.private != nil {
		log.Info("metrics and live pages", "url", "http://"+c.private.listener.Addr().String()+"/")
	}
	return c.Run(ctx)
}
