package multicast_test

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// anotherProcess is an argument that makes the test binary receive a group by itself: see
// hearInAnotherProcess.
const anotherProcess = "another-process"

// With loopback off, datagrams to a group reach other hosts and no process of this one. With
// loopback on they reach both.
func TestLoopbackReachesOtherProcesses(t *testing.T) {
	if at := slices.Index(flag.Args(), anotherProcess); at >= 0 {
		hearInAnotherProcess(t, flag.Arg(at+1), flag.Arg(at+2))
		return
	}
	netns.Run(t, func() {
		for _, f := range ipFamilies {
			t.Run(f.network, func(t *testing.T) {
				here, there := linked(t)
				heard := startAnotherProcess(t, here, f.network, f.one)
				port := sockettest.Next(t, heard)
				far := joinIn(t, there, udp.Config{}, f.network, ":"+port, f.one)
				sender := joinIn(t, here, udp.Config{}, f.network, ":0")
				eth := here.Interface("eth")
				for i, on := range []bool{true, false, true} {
					require.NoError(t, sender.SetMulticastLoopback(on))
					data := fmt.Sprint(i, " loopback ", on)
					_, err := sender.SendGroup([]byte(data), f.one, far.port(), eth)
					require.NoError(t, err)
					require.Equal(t, data, string(sockettest.Next(t, far.queue.Datagrams()).Data))
					if on { // what was sent with loopback off would have come before
						require.Equal(t, data, sockettest.Next(t, heard))
					}
				}
			})
		}
	})
}

// startAnotherProcess starts one inside ns and returns what it prints: its port, and what it
// receives.
func startAnotherProcess(t *testing.T, ns *netns.NS, network string, group netip.Addr) (says <-chan string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestLoopbackReachesOtherProcesses$", "-test.count=1",
		anotherProcess, network, group.String())
	// Otherwise a binary with the race detector sleeps for a second when it exits.
	cmd.Env = append(os.Environ(), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	ns.Do(func() { err = cmd.Start() }) // it is forked from this thread
	require.NoError(t, err)
	lines := make(chan string, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(out); s.Scan(); {
			if line, ok := strings.CutPrefix(s.Text(), anotherProcess+" "); ok {
				lines <- line
			}
		}
	}()
	t.Cleanup(func() {
		in.Close()
		<-done
		require.NoError(t, cmd.Wait())
	})
	return lines
}

// hearInAnotherProcess prints what it receives for a group until its input ends. It does not
// use package udp.
func hearInAnotherProcess(t *testing.T, network, group string) {
	pc, err := net.ListenPacket(network, ":0")
	require.NoError(t, err)
	eth, err := net.InterfaceByName("eth")
	require.NoError(t, err)
	to := &net.UDPAddr{IP: net.ParseIP(group)}
	if network == "udp4" {
		require.NoError(t, ipv4.NewPacketConn(pc).JoinGroup(eth, to))
	} else {
		require.NoError(t, ipv6.NewPacketConn(pc).JoinGroup(eth, to))
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		pc.Close()
	}()
	fmt.Println(anotherProcess, pc.LocalAddr().(*net.UDPAddr).Port)
	for b := make([]byte, 1500); ; {
		n, _, err := pc.ReadFrom(b)
		if err != nil {
			return
		}
		fmt.Println(anotherProcess, string(b[:n]))
	}
}
