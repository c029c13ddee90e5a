package udptest_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// failing is a test that has failed, or not, and what it has logged.
type failing struct {
	testing.TB
	failed  bool
	cleanup []func()
	logged  string
	fatal   string
}

func (f *failing) Helper()                       {}
func (f *failing) Cleanup(c func())              { f.cleanup = append(f.cleanup, c) }
func (f *failing) Failed() bool                  { return f.failed }
func (f *failing) Logf(format string, as ...any) { f.logged += fmt.Sprintf(format, as...) }
func (f *failing) Fatal(as ...any)               { f.fatal = fmt.Sprint(as...); panic(f) }

func TestATestThatFailedLogsTheLastDatagrams(t *testing.T) {
	for _, failed := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f := &failing{failed: failed}
			n := udptest.NewNet(f, udptest.Config{})
			a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
			server := listen(t, on(b), "udp4", "10.0.0.2:7", udp.BaseHandler{})
			c := listen(t, on(a), "udp4", "10.0.0.1:5", udp.BaseHandler{})
			a.Out().Set(udptest.Faults{Script: udptest.DropNth(2)})
			for _, port := range []uint16{7, 7, 8} {
				require.NoError(t, c.SendTo([]byte("abc"), listenerOf(b, port)))
				settle()
			}
			closed(t, server)
			closed(t, c)
			for _, c := range f.cleanup {
				c()
			}
			if !failed {
				require.Empty(t, f.logged)
				return
			}
			require.Equal(t, `udptest: the network and its last datagrams:
lan
├─ a eth0 10.0.0.1
│     eth0 out: script
└─ b eth0 10.0.0.2
    0.000000s a eth0 out       sent         10.0.0.1:5 > 10.0.0.2:7 3 bytes
    0.000001s b                received     10.0.0.1:5 > 10.0.0.2:7 3 bytes
    0.001000s a eth0 out       sent         10.0.0.1:5 > 10.0.0.2:7 3 bytes
    0.001000s a eth0 out       lost         10.0.0.1:5 > 10.0.0.2:7 3 bytes
    0.002000s a eth0 out       sent         10.0.0.1:5 > 10.0.0.2:8 3 bytes
    0.002001s b                closed port  10.0.0.1:5 > 10.0.0.2:8 3 bytes
    0.002001s b eth0 out       sent         10.0.0.2:0 > 10.0.0.1:0 ICMP type 3 code 3 about 10.0.0.2:8
    0.002002s a                no sender    10.0.0.2:0 > 10.0.0.1:0 ICMP type 3 code 3 about 10.0.0.2:8
`, f.logged)
		})
	}
}

func TestTraceKeepsTheLastOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(nil, udptest.Config{Trace: 3})
		a := n.Host("a", "10.0.0.1")
		c := listen(t, on(a), "udp4", "10.0.0.1:5", udp.BaseHandler{})
		for i := range 5 {
			require.NoError(t, c.SendTo(make([]byte, i), listenerOf(a, 5)))
			settle()
		}
		require.Equal(t, `    0.003001s a                received     10.0.0.1:5 > 10.0.0.1:5 3 bytes
    0.004000s a lo             sent         10.0.0.1:5 > 10.0.0.1:5 4 bytes
    0.004001s a                received     10.0.0.1:5 > 10.0.0.1:5 4 bytes
`, n.Trace())
	})
}

func TestBuildingWronglyFailsTheTest(t *testing.T) {
	f := new(failing)
	n := udptest.NewNet(f, udptest.Config{})
	require.PanicsWithValue(t, f, func() { n.Host("a", "nonsense") })
	require.Equal(t, `udptest: a: "nonsense" is neither an address nor a prefix`, f.fatal)
}

func TestTapsSeeWhatEntersAndWhatWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		listen(t, on(b), "udp4", ":7", udp.BaseHandler{})
		c := listen(t, on(a), "udp4", "10.0.0.1:5", udp.BaseHandler{})
		a.Out().Set(udptest.Faults{Script: udptest.DropNth(2)})
		var frames []string
		stop := a.Out().Tap(func(f udptest.Frame) {
			frames = append(frames, fmt.Sprintf("%s %q %x", f.Pipe, f.Lost, f.IP))
		})
		for range 2 {
			require.NoError(t, c.SendTo([]byte{0xab}, listenerOf(b, 7)))
		}
		stop()
		require.NoError(t, c.SendTo([]byte{0xab}, listenerOf(b, 7)))
		// By hand: ^(0a00+0001+0a00+0002 + 11+9 + 5+7+9 + ab00) is 40cd. tshark agrees: see pcap.
		packet := "4500001d000040004011" + "26ce" + "0a000001" + "0a000002" + "00050007" + "0009" + "40cd" + "ab"
		require.Equal(t, []string{`a eth0 out "" ` + packet, `a eth0 out "lost" ` + packet}, frames)
	})
}

func TestSocketsLeftOpenAreNamed(t *testing.T) {
	for _, close := range []bool{false, true} {
		f := new(failing)
		n := udptest.NewNet(f, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		conns := []*udp.Conn{
			listen(t, on(b), "udp", ":7", udp.BaseHandler{}),
			listen(t, on(a), "udp4", ":9", udp.BaseHandler{}),
			listen(t, on(a), "udp4", "10.0.0.1:8", udp.BaseHandler{}),
		}
		b.Crash() // its sockets have to be closed nevertheless
		b.Restart()
		if close {
			for _, c := range conns {
				closed(t, c)
			}
		}
		for _, c := range f.cleanup {
			c()
		}
		if close {
			require.Empty(t, f.logged)
		} else {
			require.Equal(t, "udptest: sockets that are still open, so that a bubble cannot end: "+
				"a 0.0.0.0:9, a 10.0.0.1:8, b [::]:7", f.logged)
		}
	}
}

func TestPacketsThatGoInPiecesMayBeFragmented(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		listen(t, on(b), "udp4", ":7", udp.BaseHandler{})
		c := listen(t, on(a), "udp4", "10.0.0.1:5", udp.BaseHandler{})
		var flags []byte
		a.Out().Tap(func(f udptest.Frame) {
			flags = append(flags, f.IP[6])
			sum := uint32(0)
			for i := 0; i < 20; i += 2 {
				sum += uint32(f.IP[i])<<8 | uint32(f.IP[i+1])
			}
			require.Equal(t, uint32(0xffff), sum&0xffff+sum>>16)
		})
		for _, size := range []int{1472, 1473, 60000} {
			require.NoError(t, c.SendTo(make([]byte, size), listenerOf(b, 7)))
		}
		require.Equal(t, []byte{0x40, 0, 0}, flags)
	})
}
