// Command peer has the Go programs that are measured: package udp and other Go
// packages, each as a receiver, an echo server, a relay or a sender. See ../README.md for its command line.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

// args follow ROLE and VARIANT, as name=value.
type args struct {
	size, port, buffer, sockets int
	drain                       int // datagrams that are queued before they are read
	sleep                       int // milliseconds that an echo server needs for a request
	seconds, warm               float64
	profile                     string
}

func parse(list []string) (args, error) {
	a := args{size: 64, buffer: 4 << 20, sockets: 10000, seconds: 1, warm: 0.1}
	ints := map[string]*int{"size": &a.size, "port": &a.port, "buffer": &a.buffer, "sockets": &a.sockets,
		"drain": &a.drain, "sleep": &a.sleep}
	floats := map[string]*float64{"seconds": &a.seconds, "warm": &a.warm}
	for _, arg := range list {
		name, value, _ := strings.Cut(arg, "=")
		var err error
		switch {
		case ints[name] != nil:
			*ints[name], err = strconv.Atoi(value)
		case floats[name] != nil:
			*floats[name], err = strconv.ParseFloat(value, 64)
		case name == "profile":
			a.profile = value
		default:
			return a, fmt.Errorf("unknown argument %q", arg)
		}
		if err != nil {
			return a, fmt.Errorf("%s: %w", arg, err)
		}
	}
	if a.size < 16 {
		return a, fmt.Errorf("size must be at least 16")
	}
	return a, nil
}

// A result is the line of JSON that a program ends with.
type result struct {
	Received  uint64  `json:"received"`
	Bad       uint64  `json:"bad"`
	Disorder  uint64  `json:"disorder"`
	Lost      uint64  `json:"lost"`
	Counted   uint64  `json:"counted"`
	Seconds   float64 `json:"seconds"`
	Coalesced bool    `json:"coalesced"` // the kernel queues, and drops, coalesced packets
	Sent      uint64  `json:"sent"`
	Errors    uint64  `json:"errors"`
	CPU       int64   `json:"cpu_ns"`
	Procs     int     `json:"gomaxprocs"`
	*memory
}

// A program runs until ctx is done, or for the time in args. It calls ready with its port once it
// can receive.
type program func(ctx context.Context, a args, ready func(port int)) (result, error)

var programs = map[string]map[string]program{
	"receive": {
		"callback": receiveCallback, "queue": receiveQueue(1), "queue4": receiveQueue(4),
		"net": receiveNet, "netchan": receiveNetChan(1), "netchan4": receiveNetChan(4),
		"xnet": receiveXNet, "wireguard": receiveWireGuard,
		"netfrom": receiveNetReadFrom, "packetconn": receivePacketConn, "receive": receiveDatagrams,
	},
	"echo": {
		"callback": echoCallback, "queue": echoQueue, "workers": echoWorkers(2),
		"net": echoNet, "xnet": echoXNet, "wireguard": echoWireGuard, "packetconn": echoPacketConn,
	},
	"send": {
		"sendto": sendTo, "send": sendConnected, "sendbatch": sendBatch, "sendbatchconn": sendBatchConnected, "sendbatchflat": sendBatchFlat,
		"net": sendNet, "xnet": sendXNet, "wireguard": sendWireGuard,
	},
	"relay": {"callback": relayCallback, "queue": relayQueue, "net": relayNet, "xnet": relayXNet},
	"dial":  {"callback": dialUDP, "beside": dialUDPBeside, "net": dialNet, "reader": dialNetReader},
	"idle":  {"callback": idleCallback, "net": idleNet},
}

func run() error {
	if len(os.Args) < 3 {
		return fmt.Errorf("usage: peer receive|echo|relay|send|dial|idle VARIANT [name=value ...]")
	}
	p := programs[os.Args[1]][os.Args[2]]
	if p == nil {
		return fmt.Errorf("no variant %s of %s", os.Args[2], os.Args[1])
	}
	a, err := parse(os.Args[3:])
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if a.profile != "" {
		f, err := os.Create(a.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	before := cpu()
	r, err := p(ctx, a, func(port int) {
		fmt.Printf("{\"port\":%d}\n", port)
		before = cpu()
	})
	if err != nil {
		return err
	}
	if r.CPU == 0 {
		r.CPU = cpu() - before
	}
	r.Procs = runtime.GOMAXPROCS(0)
	return json.NewEncoder(os.Stdout).Encode(r)
}

// cpu returns the CPU time of this process in nanoseconds.
func cpu() int64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return r.Utime.Nano() + r.Stime.Nano()
}
