// Command bench measures package udp beside C, other Go packages, libuv and Python, one pair of
// programs after the other, and reports medians and ratios. Start it with ./run, which builds
// everything. See README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
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
	verbose, list      bool
	only, sizes        string
	sources, cores     string
	entries            *regexp.Regexp
	without            string
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
	s := settings{entries: regexp.MustCompile("")}
	var names []string
	for _, k := range kinds {
		names = append(names, k.Name)
	}
	flag.StringVar(&s.bin, "bin", ".build", "`folder` with the built programs")
	flag.StringVar(&s.python, "python", "/usr/bin/python3", "`interpreter` for the Python programs")
	flag.StringVar(&s.docs, "docs", "../docs", "`folder` for performance.md and its plot")
	flag.IntVar(&s.runs, "runs", 5, "rounds; each measures every pair once")
	flag.Float64Var(&s.seconds, "seconds", 1, "measured time of a pair in a round")
	flag.BoolVar(&s.quick, "quick", false, "a smoke run: one short round; writes no document")
	flag.BoolVar(&s.write, "write", false, "write the document though not everything was run")
	flag.BoolVar(&s.verbose, "v", false, "print each figure when it is measured")
	flag.BoolVar(&s.list, "list", false, "list what can be measured; measure nothing")
	flag.StringVar(&s.only, "only", strings.Join(names, ","), "`kinds` to measure")
	flag.StringVar(&s.sizes, "size", "", "payload `sizes` in bytes, where a kind has several (default those of a whole run)")
	flag.StringVar(&s.sources, "source", "gso,plain", "`senders` for receive")
	flag.StringVar(&s.cores, "cores", "1,2", "`placements`: 1 is a core for each process, 2 is all processes on both")
	flag.Func("entry", "only entries whose name matches this `regexp`", func(v string) (err error) {
		s.entries, err = regexp.Compile(v)
		return err
	})
	flag.StringVar(&s.without, "without", "", "`programs` that are not installed, whose entries are left out")
	flag.StringVar(&s.receiver, "receiver", strconv.Itoa(min(1, runtime.NumCPU()-1)), "`cores` of receivers and servers, as in taskset -c")
	flag.StringVar(&s.sender, "sender", "0", "`cores` of senders and clients, as in taskset -c")
	flag.IntVar(&s.nice, "nice", 0, "priority of the programs, as in nice -n: -20 where other programs use the cores too")
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
	if s.list {
		listKinds(os.Stdout)
		return nil
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
	if n := rec.invalid(); n > 0 {
		return fmt.Errorf("%d of %d figures are invalid", n, len(rec.Figures))
	}
	return nil
}

// listKinds writes each kind with its entries.
func listKinds(w io.Writer) {
	for _, k := range kinds {
		fmt.Fprintf(w, "%s: %s\n", k.Name, k.Heading)
		for _, e := range k.Entries {
			fmt.Fprintf(w, "  %-15s %s\n", e.Name, e.Label)
		}
	}
}

// command returns the command line, without flags that do not affect the figures.
func command() string {
	line := "bench/run"
	flag.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "bin", "python", "docs", "json", "v", "write", "from":
		default:
			line += fmt.Sprintf(" -%s %s", f.Name, f.Value)
		}
	})
	return line
}

// quicken shortens the run by the settings for which no flag was given.
func (s *settings) quicken() {
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	quick := map[string]func(){
		"runs":    func() { s.runs = 1 },
		"seconds": func() { s.seconds = 0.1 },
		"sockets": func() { s.sockets = 1000 },
	}
	for name, set := range quick {
		if !given[name] {
			set()
		}
	}
}

// record measures, or reads an earlier record.
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
	rec := &record{Machine: s.machine(), Command: command(), Runs: s.runs,
		Seconds: s.seconds, Receiver: s.receiver, Sender: s.sender, Began: time.Now()}
	for round := range s.runs {
		for i, c := range cases {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			f := s.measure(ctx, c)
			f.Case, f.Round = c, round
			rec.Figures = append(rec.Figures, f)
			if s.verbose || f.Invalid != "" {
				fmt.Fprintf(os.Stderr, "round %d of %d, %d of %d: %s\n", round+1, s.runs, i+1, len(cases), f)
			}
		}
		slices.Reverse(cases) // so that what drifts within a round does not favour one side
	}
	rec.Took = time.Since(rec.Began)
	return rec, nil
}

// cases returns the pairs to measure in a round, each next to those it is compared with.
func (s *settings) cases() ([]Case, error) {
	var given []int
	for v := range strings.SplitSeq(s.sizes, ",") {
		if s.sizes == "" {
			break
		}
		n, err := strconv.Atoi(v)
		if err != nil || n < 16 || n > 65507 {
			return nil, fmt.Errorf("size %q is not 16 to 65507", v)
		}
		given = append(given, n)
	}
	var all []Case
	for v := range strings.SplitSeq(s.cores, ",") {
		cores, err := strconv.Atoi(v)
		if err != nil || cores < 1 || cores > 2 {
			return nil, fmt.Errorf("placement %q is not 1 or 2", v)
		}
		for name := range strings.SplitSeq(s.only, ",") {
			k, ok := kindOf(name)
			if !ok {
				return nil, fmt.Errorf("no kind %q: see -list", name)
			}
			sizes := k.sizes(cores)
			switch {
			case len(sizes) == 1:
			case given != nil:
				sizes = given
			case s.quick && cores == 1:
				sizes = []int{64}
			case s.quick:
				sizes = []int{1200}
			}
			all = append(all, s.matching(k.cases(sizes, cores))...)
		}
	}
	return all, nil
}

// matching returns the cases that the flags do not exclude. A quick run has each entry once; on
// both cores it has only package udp and the entries that it is compared with.
func (s *settings) matching(cs []Case) []Case {
	sources, without := strings.Split(s.sources, ","), strings.Split(s.without, ",")
	return slices.DeleteFunc(cs, func(c Case) bool {
		return !s.entries.MatchString(c.Entry) || c.Source != "" && !slices.Contains(sources, c.Source) ||
			slices.Contains(without, c.entry().Program) ||
			s.quick && c.Cores > 1 && !c.entry().ours() && !slices.Contains(c.kind().Bases, c.Entry)
	})
}
