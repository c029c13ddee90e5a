package ecosystem

import (
	"context"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// A contender does the same work as the others of a benchmark, and says what it cost.
type contender struct {
	name string
	run  contenderFunc
}

type contenderFunc func(b *testing.B) cost

type cost struct{ elapsed, cpu time.Duration }

// compare has each contender work once a round, by turns, and reports medians of ratios that
// are taken within a round: the rate and the CPU time of the others, to those of the first.
func compare(b *testing.B, contenders ...contender) {
	rates, cpus := make([][]float64, len(contenders)), make([][]float64, len(contenders))
	for round := range b.N {
		costs := make([]cost, len(contenders))
		for i := range contenders {
			if round%2 == 1 {
				i = len(contenders) - 1 - i
			}
			costs[i] = contenders[i].run(b)
		}
		for i, c := range costs {
			rates[i] = append(rates[i], float64(costs[0].elapsed)/float64(c.elapsed))
			cpus[i] = append(cpus[i], float64(c.cpu)/float64(costs[0].cpu))
		}
	}
	b.ReportMetric(0, "ns/op") // not shown: it would be that of all contenders
	for i, c := range contenders[1:] {
		b.ReportMetric(median(rates[i+1]), c.name+"-rate")
		b.ReportMetric(median(cpus[i+1]), c.name+"-cpu")
	}
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

// measured returns what f cost this process.
func measured(b *testing.B, f func()) cost {
	began, before := time.Now(), cpuTime(b)
	f()
	return cost{time.Since(began), cpuTime(b) - before}
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const benchBuffer = 7 << 20 // bytes; of the kernel, for every contender

// netConn is the conn of package net.
func netConn(b *testing.B) net.PacketConn {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(b, err)
	_ = c.SetReadBuffer(benchBuffer)
	_ = c.SetWriteBuffer(benchBuffer)
	return c
}

// udpConn is that of package udp.
func udpConn(b *testing.B) net.PacketConn {
	cfg := udp.Config{ReadBuffer: benchBuffer, WriteBuffer: benchBuffer}
	c, err := cfg.ListenPacket(context.Background(), "udp4", "127.0.0.1:0")
	require.NoError(b, err)
	return c
}
