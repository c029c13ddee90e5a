// Bench sends the same datagrams to the collector and to programs that are used for the
// same purpose, each as a process, and prints what they stored and the CPU time of one.
//
//	go run ./bench [-n datagrams] [-rate datagrams/s] [-rounds n] [-profile directory]
//
// It needs goflow2 (go install github.com/netsampler/goflow2/v2/cmd/goflow2@v2.2.6) and
// rsyslogd (of Debian) in the PATH, and leaves out what is missing. Run it in collector/.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// subject is a program that is measured.
type subject struct {
	name      string
	guarantee string // of what counts as stored
	program   string
	args      func(dir, address string) []string
	payload   func(i int) []byte
	stored    func(dir string) (float64, error) // datagrams until now
}

func main() {
	n := flag.Int("n", 100_000, "datagrams for each program and round")
	rate := flag.Int("rate", 20_000, "datagrams a second; 0: as fast as one goroutine sends")
	rounds := flag.Int("rounds", 3, "rounds; the median is printed")
	profile := flag.String("profile", "", "write CPU profiles of the collector to this `directory`")
	flag.Parse()
	if err := run(*n, *rate, *rounds, *profile); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(n, rate, rounds int, profile string) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	collector := filepath.Join(dir, "collector")
	build := exec.Command("go", "build", "-o", collector, ".")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("run it in the directory of the collector: %w", err)
	}
	subjects := subjects(collector)
	results := make([][]result, len(subjects))
	for round := range rounds {
		for i, s := range subjects {
			if _, err := exec.LookPath(s.program); err != nil {
				continue
			}
			to := ""
			if s.program == collector && profile != "" && round == 0 {
				to = filepath.Join(profile, strings.ReplaceAll(s.name, " ", "")+".prof")
			}
			r, err := measure(s, n, rate, to)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			results[i] = append(results[i], r)
		}
	}
	fmt.Printf("%d datagrams at %d/s, median of %d rounds\n\n", n, rate, rounds)
	fmt.Println("| program | stored | of those sent | stored/s | CPU of one |\n| --- | --- | ---: | ---: | ---: |")
	for i, s := range subjects {
		if len(results[i]) == 0 {
			fmt.Printf("| %s | not installed | | | |\n", s.name)
			continue
		}
		slices.SortFunc(results[i], func(a, b result) int { return int(a.cpu - b.cpu) })
		r := results[i][len(results[i])/2]
		fmt.Printf("| %s | %s | %.1f %% | %.0f | %.1f µs |\n", s.name, s.guarantee,
			100*r.stored/float64(n), r.stored/r.took.Seconds(), float64(r.cpu.Microseconds())/max(r.stored, 1))
	}
	return nil
}

const httpAddress = "127.0.0.1:19514"

func subjects(collector string) []subject {
	ours := func(name, format string, payload func(int) []byte) subject {
		return subject{
			name: name, guarantee: "acknowledged by the stream", program: collector, payload: payload,
			args: func(dir, address string) []string {
				file := filepath.Join(dir, "collector.toml")
				_ = os.WriteFile(file, []byte("[nats]\nlisten = \"\"\n"), 0o600)
				return []string{"-config", file, "-dir", filepath.Join(dir, "data"), "-http", httpAddress, "-input", format + "=" + address}
			},
			stored: func(string) (float64, error) { return acknowledged() },
		}
	}
	return []subject{
		ours("collector, NetFlow 5", "netflow", netflow5),
		{
			name: "goflow2, NetFlow 5", guarantee: "written to a file", program: "goflow2", payload: netflow5,
			args: func(dir, address string) []string {
				return []string{"-listen", "netflow://" + address, "-transport.file", filepath.Join(dir, "out"), "-addr", ""}
			},
			stored: func(dir string) (float64, error) {
				lines, err := countLines(filepath.Join(dir, "out"))
				return lines / flows, err
			},
		},
		ours("collector, syslog", "syslog", syslog),
		{
			name: "rsyslogd, syslog", guarantee: "written to a file", program: "rsyslogd", payload: syslog,
			args: func(dir, address string) []string {
				_, port, _ := net.SplitHostPort(address)
				file := filepath.Join(dir, "rsyslog.conf")
				_ = os.WriteFile(file, []byte(`global(workDirectory="`+dir+`")
module(load="imudp" threads="2")
input(type="imudp" address="127.0.0.1" port="`+port+`")
template(name="json" type="list" option.jsonf="on") {
  property(outname="source" name="fromhost-ip" format="jsonf")
  property(outname="time" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="severity" name="syslogseverity-text" format="jsonf")
  property(outname="facility" name="syslogfacility-text" format="jsonf")
  property(outname="app" name="programname" format="jsonf")
  property(outname="message" name="msg" format="jsonf")
}
action(type="omfile" file="`+filepath.Join(dir, "out")+`" template="json")
`), 0o600)
				return []string{"-n", "-f", file, "-i", filepath.Join(dir, "pid")}
			},
			stored: func(dir string) (float64, error) { return countLines(filepath.Join(dir, "out")) },
		},
		ours("collector, raw", "raw", syslog),
	}
}

type result struct {
	stored float64
	took   time.Duration // from the first datagram to the last that was stored
	cpu    time.Duration // of the process meanwhile
}

func measure(s subject, n, rate int, profile string) (r result, err error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	address, err := freePort()
	if err != nil {
		return r, err
	}
	cmd := exec.Command(s.program, s.args(dir, address)...)
	if err := cmd.Start(); err != nil {
		return r, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	conn, err := net.Dial("udp", address)
	if err != nil {
		return r, err
	}
	defer conn.Close()
	// It listens when a first datagram is stored.
	deadline := time.Now().Add(20 * time.Second)
	for first := 0.0; first == 0; first, _ = s.stored(dir) {
		if time.Now().After(deadline) {
			return r, fmt.Errorf("stores nothing")
		}
		_, _ = conn.Write(s.payload(0))
		time.Sleep(50 * time.Millisecond)
	}
	if profile != "" {
		seconds := 5
		if rate > 0 {
			seconds = max(1, n/rate)
		}
		saved := make(chan struct{})
		go func() {
			defer close(saved)
			saveProfile(profile, seconds)
		}()
		defer func() { <-saved }()
	}
	before, err := settled(s, dir, nil)
	if err != nil {
		return r, err
	}
	spent, err := cpuTime(cmd.Process.Pid)
	if err != nil {
		return r, err
	}
	begin := time.Now()
	for i := range n {
		if rate > 0 && i%50 == 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		}
		if _, err := conn.Write(s.payload(i)); err != nil {
			return r, err
		}
	}
	var last time.Time
	after, err := settled(s, dir, &last)
	if err != nil {
		return r, err
	}
	now, err := cpuTime(cmd.Process.Pid)
	return result{stored: after - before, took: last.Sub(begin), cpu: now - spent}, err
}

// cpuTime returns what a process has used, as Linux counts it: in hundredths of a second.
func cpuTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name may have spaces
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, b)
	}
	var ticks int64
	for _, field := range fields[11:13] { // utime and stime: proc_pid_stat(5)
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// settled returns how many are stored when that has not changed for a second, and when
// it was reached.
func settled(s subject, dir string, when *time.Time) (float64, error) {
	stored, since := -1.0, time.Now()
	for time.Since(since) < time.Second {
		now, err := s.stored(dir)
		if err != nil {
			return 0, err
		}
		if now != stored {
			stored, since = now, time.Now()
		}
		time.Sleep(20 * time.Millisecond)
	}
	if when != nil {
		*when = since
	}
	return stored, nil
}

// acknowledged reads what the collector's metrics say: acknowledged at once, or out of
// the spool.
func acknowledged() (total float64, err error) {
	response, err := http.Get("http://" + httpAddress + "/metrics")
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	for line := range strings.Lines(string(body)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(name, `collector_datagrams_accepted_total{by="stream"`) || name == "collector_spool_replayed_datagrams_total" {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, err
			}
			total += v
		}
	}
	return total, err
}

func saveProfile(file string, seconds int) {
	response, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", httpAddress, seconds+1))
	if err != nil {
		fmt.Fprintln(os.Stderr, "profile:", err)
		return
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	_ = os.WriteFile(file, body, 0o600)
}

func countLines(file string) (float64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	n := 0
	for {
		k, err := f.Read(buf)
		for _, b := range buf[:k] {
			if b == '\n' {
				n++
			}
		}
		if err == io.EOF {
			return float64(n), nil
		}
		if err != nil {
			return 0, err
		}
	}
}

func freePort() (string, error) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.LocalAddr().String(), nil
}
