// Command bench measures package udp beside C, other Go packages, libuv and
// Python, pair by pair in turn, and reports medians and ratios. Start it with
// ./run, which builds everything. See README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// settings are the flags.
type settings struct {
	bin, python        string
	runs               int
	seconds            float64
	quick, write       bool
	verbose            bool
	only, sizes        string
	sources            string
	who                *regexp.Regexp
	receiver, sender   string // cores, as taskset has them
	sockets, nice      int
	jsonFile, fromFile string
	docs, profiles     string
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	s := settings{who: regexp.MustCompile("")}
	flag.StringVar(&s.bin, "bin", ".build", "`folder` with the built programs")
	flag.StringVar(&s.python, "python", "/usr/bin/python3", "`interpreter` for the Python programs")
	flag.StringVar(&s.docs, "docs", "../docs", "`folder` for performance.md and its plot")
	flag.IntVar(&s.runs, "runs", 5, "rounds; each has every pair once")
	flag.Float64Var(&s.seconds, "seconds", 1, "measured time of a pair in a round")
	flag.BoolVar(&s.quick, "quick", false, "a smoke run: one short round; writes no document")
	flag.BoolVar(&s.write, "write", false, "write the document though not everything was run")
	flag.BoolVar(&s.verbose, "v", false, "tell each figure as it comes")
	flag.StringVar(&s.only, "only", "receive,send,flood,ping,idle", "what to measure")
	flag.StringVar(&s.sizes, "size", "64,512,1200,8192", "payload sizes in bytes")
	flag.StringVar(&s.sources, "source", "gso,plain", "senders for receive: gso, plain")
	flag.Func("who", "contenders whose name matches this `regexp`", func(v string) (err error) {
		s.who, err = regexp.Compile(v)
		return err
	})
	flag.StringVar(&s.receiver, "receiver", strconv.Itoa(min(1, runtime.NumCPU()-1)), "`cores` of receivers and servers, as in taskset -c")
	flag.StringVar(&s.sender, "sender", "0", "`cores` of senders and clients, as in taskset -c")
	flag.IntVar(&s.nice, "nice", 0, "priority of the programs, as in nice -n: -20 where others need the cores too")
	flag.IntVar(&s.sockets, "sockets", 10000, "idle sockets")
	flag.StringVar(&s.jsonFile, "json", "", "write all figures to this `file`")
	flag.StringVar(&s.profiles, "profile", "", "write CPU profiles of the Go programs to this `folder`; they cost a little")
	flag.StringVar(&s.fromFile, "from", "", "report on the figures in this `file`; measure nothing")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if s.quick {
		s.quicken()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	rec, err := s.record(ctx)
	if err != nil {
		return err
	}
	rec.print(os.Stdout)
	if s.jsonFile != "" {
		if err := rec.save(s.jsonFile); err != nil {
			return err
		}
	}
	if rec.complete() || s.write {
		if err := rec.document(s.docs); err != nil {
			return err
		}
	}
	if v := rec.voids(); v > 0 {
		return fmt.Errorf("%d of %d figures are void", v, len(rec.Figures))
	}
	return nil
}

// command is what was asked to be measured.
func command() string {
	line := "bench/run"
	flag.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "bin", "python", "docs", "json", "v", "write", "from": // nothing that the figures depend on
		default:
			line += fmt.Sprintf(" -%s %s", f.Name, f.Value)
		}
	})
	return line
}

// quicken changes what was not asked for otherwise.
func (s *settings) quicken() {
	asked := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { asked[f.Name] = true })
	quick := map[string]func(){
		"runs":    func() { s.runs = 1 },
		"seconds": func() { s.seconds = 0.2 },
		"size":    func() { s.sizes = "64,1200" },
		"sockets": func() { s.sockets = 1000 },
	}
	for name, set := range quick {
		if !asked[name] {
			set()
		}
	}
}

// record measures, or reads what was measured.
func (s *settings) record(ctx context.Context) (*record, error) {
	if s.fromFile != "" {
		return load(s.fromFile)
	}
	if s.profiles != "" {
		if err := os.MkdirAll(s.profiles, 0o755); err != nil {
			return nil, err
		}
	}
	cases, err := s.cases()
	if err != nil {
		return nil, err
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("nothing to measure")
	}
	rec := &record{Machine: thisMachine(), Command: command(), Runs: s.runs,
		Seconds: s.seconds, Receiver: s.receiver, Sender: s.sender, Began: time.Now()}
	for round := range s.runs {
		for i, c := range cases {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			f := s.measure(ctx, c)
			f.Case, f.Round = c, round
			rec.Figures = append(rec.Figures, f)
			if s.verbose || f.Void != "" {
				fmt.Fprintf(os.Stderr, "round %d of %d, %d of %d: %s\n", round+1, s.runs, i+1, len(cases), f)
			}
		}
	}
	rec.Took = time.Since(rec.Began)
	return rec, nil
}

// cases are the pairs to measure in a round, neighbours being those to compare.
func (s *settings) cases() ([]Case, error) {
	var sizes []int
	for v := range strings.SplitSeq(s.sizes, ",") {
		n, err := strconv.Atoi(v)
		if err != nil || n < 16 || n > 65507 {
			return nil, fmt.Errorf("size %q is not 16 to 65507", v)
		}
		sizes = append(sizes, n)
	}
	var all []Case
	for kind := range strings.SplitSeq(s.only, ",") {
		switch kind {
		case receive:
			for _, size := range sizes {
				for source := range strings.SplitSeq(s.sources, ",") {
					all = append(all, s.matching(kind, source, size)...)
				}
			}
		case send, flood, ping:
			for _, size := range sizes {
				all = append(all, s.matching(kind, "", size)...)
			}
		case idle:
			all = append(all, s.matching(kind, "", 64)...)
		default:
			return nil, fmt.Errorf("can't measure %q", kind)
		}
	}
	return all, nil
}

func (s *settings) matching(kind, source string, size int) []Case {
	var cs []Case
	for _, c := range contenders[kind] {
		if s.who.MatchString(c.Name) {
			cs = append(cs, Case{Kind: kind, Source: source, Size: size, Who: c.Name})
		}
	}
	return slices.Clip(cs)
}
