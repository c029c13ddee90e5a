package pcap_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/pcap"
	"github.com/udpkit/udp/udptest"
)

// record writes a question, its answer, a refusal and a loss in both families.
func record(t *testing.T, path string, tap func(*pcap.Capture, *udptest.Pipe) func()) {
	synctest.Test(t, func(t *testing.T) {
		f, err := os.Create(path)
		require.NoError(t, err)
		defer f.Close()
		w := pcap.New(pcap.Config{Last: 2})
		require.NoError(t, w.Start(f))
		n := udptest.NewNet(t, udptest.Config{Faults: udptest.Faults{Latency: 10 * time.Millisecond}})
		a, b := n.Host("a", "10.0.0.1", "fd00::1"), n.Host("b", "10.0.0.2", "fd00::2")
		tap(w, a.Out())
		tap(w, a.In())
		ctx := context.Background()
		server, err := udp.Config{Network: b.Network()}.Listen(ctx, "udp", ":7", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			_ = d.Reply([]byte("answer"))
		}))
		require.NoError(t, err)
		defer server.Close()
		for _, address := range []string{"10.0.0.2:7", "[fd00::2]:7", "10.0.0.2:9", "[fd00::2]:9"} {
			q := udp.NewQueue(10, udp.Block)
			c, err := udp.Config{Network: a.Network()}.Dial(ctx, "udp", address, q)
			require.NoError(t, err)
			require.NoError(t, c.Send([]byte("question")))
			time.Sleep(time.Second)
			require.NoError(t, c.Close())
		}
		a.Out().Set(udptest.Faults{Loss: 1})
		c, err := udp.Config{Network: a.Network()}.Dial(ctx, "udp", "10.0.0.2:7", udp.BaseHandler{})
		require.NoError(t, err)
		require.NoError(t, c.Send([]byte("lost")))
		require.NoError(t, c.Close())
		require.NoError(t, w.Stop())
	})
}

// tshark prints fields of each packet of a file, whose checksums it checks.
func tshark(t *testing.T, path string, fields ...string) []string {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip(err)
	}
	args := []string{"-r", path, "-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-T", "fields", "-E", "separator= "}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, err := exec.Command("tshark", args...).Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		t.Fatalf("%v: %s", err, exit.Stderr)
	}
	require.NoError(t, err)
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// checksums are 1 where they are right, and 0 where they are wrong.
var checksums = []string{"ip.checksum.status", "udp.checksum.status", "icmp.checksum.status", "icmpv6.checksum.status"}

func TestTsharkReadsWhatPassed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all.pcapng")
	record(t, path, (*pcap.Capture).Tap)
	fields := []string{"frame.time_relative", "_ws.col.Source", "_ws.col.Protocol", "udp.dstport", "udp.checksum.status",
		"icmp.code", "icmpv6.code", "icmp.checksum.status", "icmpv6.checksum.status", "frame.comment"}
	lines := tshark(t, path, fields...)
	require.Len(t, lines, 9)
	for i, want := range []string{
		"10.0.0.1 ECHO 7 1", "10.0.0.2 ECHO", "fd00::1 ECHO 7 1", "fd00::2 ECHO",
		"10.0.0.1 UDP 9 1", "10.0.0.2 ICMP 9", "fd00::1 UDP 9 1", "fd00::2 ICMPv6 9", "10.0.0.1 ECHO 7 1",
	} {
		require.Contains(t, lines[i], want)
		require.NotRegexp(t, ` 0( |$)`, lines[i], "a checksum is wrong")
	}
	require.Contains(t, lines[8], "lost: ")
	require.True(t, strings.HasPrefix(lines[1], "0.030002002 "), lines[1])

	path = filepath.Join(t.TempDir(), "arrived.pcapng")
	record(t, path, (*pcap.Capture).TapArrivals)
	require.Len(t, tshark(t, path, fields...), 8, "not the lost one")
}

func TestArrivalsAreWrittenWhenTheyArrive(t *testing.T) {
	var file bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		b.In().Set(udptest.Faults{Duplicate: 1, Latency: time.Second})
		w := pcap.New(pcap.Config{})
		require.NoError(t, w.Start(&file))
		w.TapArrivals(b.In())
		s, err := udp.Config{Network: b.Network()}.Listen(t.Context(), "udp", ":7", udp.BaseHandler{})
		require.NoError(t, err)
		defer s.Close()
		c, err := udp.Config{Network: a.Network()}.Dial(t.Context(), "udp", "b:7", udp.BaseHandler{})
		require.NoError(t, err)
		defer c.Close()
		for range 2 {
			require.NoError(t, c.Send([]byte("twice")))
			time.Sleep(10 * time.Second)
		}
		synctest.Wait()
		require.NoError(t, w.Stop())
	})
	r, err := pcapgo.NewNgReader(&file, pcapgo.DefaultNgReaderOptions)
	require.NoError(t, err)
	var at []int64
	for {
		_, info, err := r.ReadPacketData()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		at = append(at, info.Timestamp.Unix()%60)
	}
	require.Equal(t, []int64{1, 1, 11, 11}, at)
}
