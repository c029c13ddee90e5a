package pcap_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/pcap"
	"github.com/udpkit/udp/udptest"
)

const patience = time.Minute

// frame is a packet of a file.
type frame struct {
	info       gopacket.CaptureInfo
	src, dst   string
	data       string
	comment    string
	class, ttl int
	iface      string
}

// frames reads a file.
func frames(t *testing.T, file io.Reader) (all []frame) {
	t.Helper()
	r, err := pcapgo.NewNgReader(file, pcapgo.DefaultNgReaderOptions)
	require.NoError(t, err)
	for {
		b, info, o, err := r.ReadPacketDataWithOptions()
		if err == io.EOF {
			return all
		}
		require.NoError(t, err)
		iface, err := r.Interface(info.InterfaceIndex)
		require.NoError(t, err)
		f := frame{info: info, comment: strings.Join(o.Comments, ", "), iface: iface.Name}
		first := gopacket.LayerType(layers.LayerTypeIPv4)
		if b[0]>>4 == 6 {
			first = layers.LayerTypeIPv6
		}
		p := gopacket.NewPacket(b, first, gopacket.Default)
		u, _ := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
		f.src, f.dst = p.NetworkLayer().NetworkFlow().Src().String(), p.NetworkLayer().NetworkFlow().Dst().String()
		if u != nil {
			f.data = string(u.Payload)
		}
		switch ip := p.NetworkLayer().(type) {
		case *layers.IPv4:
			f.class, f.ttl = int(ip.TOS), int(ip.TTL)
		case *layers.IPv6:
			f.class, f.ttl = int(ip.TrafficClass), int(ip.HopLimit)
		}
		all = append(all, f)
	}
}

func listen(t *testing.T, cfg udp.Config, network, address string, h udp.Handler) *udp.Conn {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	c, err := cfg.Listen(t.Context(), network, address, h)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(); <-c.Done() })
	return c
}

// fickle replies, rejects and panics.
var fickle = udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
	switch string(d.Data) {
	case "reject":
		d.Drop()
	case "panic":
		panic("fickle")
	default:
		_ = d.Reply([]byte("re: " + string(d.Data)))
	}
})

// What a server receives, sends and drops is in the file: both families on one socket, with the
// addresses that were asked, right checksums, and the reasons of drops as comments.
func TestCaptureOfAServer(t *testing.T) {
	for name, world := range map[string]func(t *testing.T) (server, client udp.Config, v4, v6 string){
		"kernel": func(*testing.T) (server, client udp.Config, v4, v6 string) {
			return udp.Config{}, udp.Config{}, "127.0.0.1", "::1"
		},
		"simulated": func(t *testing.T) (server, client udp.Config, v4, v6 string) {
			n := udptest.NewNet(t, udptest.Config{})
			a, b := n.Host("a", "10.0.0.1", "fd00::1"), n.Host("b", "10.0.0.2", "fd00::2")
			return udp.Config{Network: a.Network()}, udp.Config{Network: b.Network()}, "10.0.0.1", "fd00::1"
		},
	} {
		t.Run(name, func(t *testing.T) {
			server, client, v4, v6 := world(t)
			capture := pcap.New(pcap.Config{})
			server.Trace, server.MaxDatagram = capture.Trace(), 1000
			c := listen(t, server, "udp", ":0", fickle)
			path := filepath.Join(t.TempDir(), "all.pcapng")
			file, err := os.Create(path)
			require.NoError(t, err)
			defer file.Close()
			require.NoError(t, capture.Start(file))
			require.Error(t, capture.Start(file), "twice")
			for _, host := range []string{v4, v6} {
				to := netip.AddrPortFrom(netip.MustParseAddr(host), c.LocalAddrPort().Port())
				q := udp.NewQueue(10, udp.Block)
				peer, err := client.Dial(t.Context(), "udp", to.String(), q)
				require.NoError(t, err)
				for _, text := range []string{"hello", "reject", "panic", strings.Repeat("long", 500), ""} {
					before := c.Stats().Received
					require.NoError(t, peer.Send([]byte(text)))
					require.Eventually(t, func() bool { return c.Stats().Received > before }, patience, time.Millisecond)
				}
				for range 2 {
					d, err := q.Receive(t.Context())
					require.NoError(t, err)
					d.Release()
				}
				require.NoError(t, peer.Close())
				<-peer.Done()
			}
			require.Eventually(t, func() bool { return c.Stats().Sent == 4 }, patience, time.Millisecond)
			require.NoError(t, capture.Stop())
			require.NoError(t, capture.Stop(), "nothing to stop")

			lines := tshark(t, path, append([]string{"_ws.col.Source", "_ws.col.Destination", "udp.length", "frame.comment"}, checksums...)...)
			comments := map[string]int{}
			for _, line := range lines {
				require.NotRegexp(t, ` 0( |$)`, line, "a checksum is wrong")
				for _, reason := range []string{"handler", "panicked", "truncated"} {
					if strings.Contains(line, "dropped: "+reason) {
						comments[reason]++
					}
				}
			}
			require.Equal(t, map[string]int{"handler": 2, "panicked": 2, "truncated": 2}, comments)
			require.Len(t, lines, 14)

			_, err = file.Seek(0, io.SeekStart)
			require.NoError(t, err)
			all := frames(t, file)
			for i := 1; i < len(all); i++ {
				require.False(t, all[i].info.Timestamp.Before(all[i-1].info.Timestamp), "in the order of time")
			}
			for _, f := range all {
				require.Contains(t, []string{v4, v6}, map[bool]string{true: f.src, false: f.dst}[strings.HasPrefix(f.data, "re: ")],
					"the address that was asked, not the one that is bound")
			}
		})
	}
}

// A refusal is the ICMP message, with its error as a comment.
func TestCaptureOfRefusals(t *testing.T) {
	n := udptest.NewNet(t, udptest.Config{})
	a := n.Host("a", "10.0.0.1", "fd00::1")
	n.Host("b", "10.0.0.2", "fd00::2")
	capture := pcap.New(pcap.Config{})
	for _, address := range []string{"10.0.0.2:9", "[fd00::2]:9"} {
		q := udp.NewQueue(1, udp.Block)
		c, err := udp.Config{Network: a.Network(), Trace: capture.Trace()}.Dial(t.Context(), "udp", address, q)
		require.NoError(t, err)
		require.NoError(t, c.Send([]byte("anybody?")))
		_, err = q.Receive(t.Context())
		require.ErrorIs(t, err, udp.ErrRefused)
		require.NoError(t, c.Close())
		<-c.Done()
	}
	path, err := capture.Dump(t.TempDir())
	require.NoError(t, err)
	lines := tshark(t, path, append([]string{"_ws.col.Source", "icmp.type", "icmp.code", "icmpv6.type", "icmpv6.code",
		"udp.dstport", "data.text", "frame.comment"}, checksums...)...)
	require.Len(t, lines, 4)
	for _, line := range lines {
		require.NotRegexp(t, ` 0( |$)`, line[strings.LastIndex(line, "  "):], "a checksum is wrong: %s", line)
	}
	text := strings.Join(lines, "\n")
	require.Regexp(t, `10\.0\.0\.2 3 3 .* 9 .*refused: udp: datagram to 10\.0\.0\.2:9 was refused`, text)
	require.Regexp(t, `fd00::2 .*1 4 9 .*refused: udp: datagram to \[fd00::2\]:9 was refused`, text)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm(), "payloads are confidential")
}

// A datagram that a full Queue drops after it has waited gets its comment, too.
func TestCaptureOfAQueue(t *testing.T) {
	capture := pcap.New(pcap.Config{})
	q := udp.NewQueue(2, udp.DropOldest)
	c := listen(t, udp.Config{Trace: capture.Trace()}, "udp4", "127.0.0.1:0", q)
	sender := listen(t, udp.Config{}, "udp4", "127.0.0.1:0", udp.BaseHandler{})
	for _, text := range []string{"one", "two", "three"} {
		require.NoError(t, sender.SendTo([]byte(text), c.LocalAddrPort()))
	}
	require.Eventually(t, func() bool { return c.Stats().Dropped.Queue == 1 }, patience, time.Millisecond)
	var file bytes.Buffer
	require.NoError(t, capture.WriteLast(&file))
	all := frames(t, &file)
	require.Len(t, all, 3)
	for _, f := range all {
		require.Equal(t, map[string]string{"one": "dropped: queue"}[f.data], f.comment)
		require.Equal(t, "udp "+c.LocalAddrPort().String(), f.iface)
	}
}

// The ring has the newest packets, cut to the snap length, and drops of older ones.
func TestCaptureKeepsTheLast(t *testing.T) {
	capture := pcap.New(pcap.Config{Last: 3, Snap: 30})
	n := udptest.NewNet(t, udptest.Config{})
	a := n.Host("a", "10.0.0.1")
	q := udp.NewQueue(4, udp.DropOldest)
	c := listen(t, udp.Config{Network: a.Network(), Trace: capture.Trace(), TTL: 9, TrafficClass: 0}, "udp4", "10.0.0.1:7", q)
	sender := listen(t, udp.Config{Network: a.Network()}, "udp4", "10.0.0.1:8", udp.BaseHandler{})
	for _, text := range []string{"1111", "2222", "3333", "4444", "5555"} {
		require.NoError(t, sender.SendTo([]byte(text), c.LocalAddrPort()))
	}
	require.Eventually(t, func() bool { return c.Stats().Dropped.Queue == 1 }, patience, time.Millisecond)
	var file bytes.Buffer
	require.NoError(t, capture.WriteLast(&file))
	var got []string
	for _, f := range frames(t, &file) {
		got = append(got, f.data+" "+f.comment)
		require.Equal(t, 30, f.info.CaptureLength)
		require.Equal(t, 32, f.info.Length)
	}
	// The ring had forgotten "1111" when the queue dropped it.
	require.ElementsMatch(t, []string{"44 ", "55 ", "11 dropped: queue"}, got)
}

// Replies are captured with the TTL, traffic class and source address of the message; a zone is
// in the name of the interface.
func TestCaptureOfMessages(t *testing.T) {
	capture := pcap.New(pcap.Config{})
	n := udptest.NewNet(t, udptest.Config{})
	a := n.Host("a", "10.0.0.1", "fe80::1")
	c := listen(t, udp.Config{Network: a.Network(), Trace: capture.Trace()}, "udp", ":7", udp.BaseHandler{})
	_, err := c.SendBatch([]udp.Message{
		{Data: []byte("4"), To: netip.MustParseAddrPort("10.0.0.9:9"), From: netip.MustParseAddr("10.0.0.1"), TTL: 3, TrafficClass: 0xb8, ECN: udp.ECT0},
		{Data: []byte("z"), To: netip.MustParseAddrPort("[fe80::9%eth0]:9"), TTL: 255},
	})
	require.NoError(t, err)
	var file bytes.Buffer
	require.NoError(t, capture.WriteLast(&file))
	all := frames(t, &file)
	require.Len(t, all, 2)
	require.Equal(t, []any{"10.0.0.1", "10.0.0.9", 3, 0xba, "udp [::]:7"}, []any{all[0].src, all[0].dst, all[0].ttl, all[0].class, all[0].iface})
	require.Equal(t, []any{"::", "fe80::9", 255, "udp [::]:7 eth0"}, []any{all[1].src, all[1].dst, all[1].ttl, all[1].iface})
}

// A file that cannot be written stops the capture, not the socket.
func TestCaptureSurvivesItsWriter(t *testing.T) {
	capture := pcap.New(pcap.Config{})
	full := errors.New("disk full")
	require.ErrorIs(t, capture.Start(failing{full, 0}), full)
	require.NoError(t, capture.Start(failing{full, 1}))
	c := listen(t, udp.Config{Trace: capture.Trace()}, "udp4", "127.0.0.1:0", fickle)
	for range 1000 {
		require.NoError(t, c.SendTo(make([]byte, 100), netip.MustParseAddrPort("127.0.0.1:9")))
	}
	require.ErrorIs(t, capture.Stop(), full)
	require.EqualValues(t, 1000, c.Stats().Sent)
	require.ErrorIs(t, capture.WriteLast(failing{full, 0}), full)
	_, err := capture.Dump(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, capture.Start(io.Discard), "again")
	require.NoError(t, capture.Stop())
}

// failing is a writer that fails after some bytes; with 1 it takes the header of the file.
type failing struct {
	err  error
	took int
}

func (f failing) Write(b []byte) (int, error) {
	if f.took == 1 && len(b) < 1000 {
		return len(b), nil
	}
	return 0, f.err
}

// A peer that makes a Handler panic cannot fill the disk.
func TestPanicsWriteFewFiles(t *testing.T) {
	capture := pcap.New(pcap.Config{})
	dir := t.TempDir()
	written := make(chan struct{}, 100)
	stop := capture.DumpOn(dir, func(string, error) { written <- struct{}{} })
	c := listen(t, udp.Config{Trace: capture.Trace()}, "udp4", "127.0.0.1:0", fickle)
	for n := range uint64(30) {
		require.NoError(t, c.SendTo([]byte("panic"), c.LocalAddrPort()))
		require.Eventually(t, func() bool { return c.Stats().Dropped.Panicked == n+1 }, patience, time.Millisecond)
		if n < 10 {
			<-written
		}
	}
	stop()
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 10)
}

func TestDumpPanic(t *testing.T) {
	capture := pcap.New(pcap.Config{})
	dir := t.TempDir()
	func() {
		defer capture.DumpPanic(dir)
	}()
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, files, "nothing panicked")
	defer func() {
		p, ok := recover().(*pcap.Panic)
		require.True(t, ok)
		require.ErrorIs(t, p, context.Canceled)
		require.FileExists(t, p.Path)
		require.Contains(t, p.Error(), p.Path)
	}()
	defer capture.DumpPanic(dir)
	panic(context.Canceled)
}
