package udptest_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/udptest"
)

// wronglyBuilt has for each error how to make it.
var wronglyBuilt = map[string]func(n *udptest.Net, a *udptest.Host){
	`udptest: b: 10.0.0.1 is an address of a`: func(n *udptest.Net, _ *udptest.Host) { n.Host("b", "10.0.0.1/8") },
	`udptest: duplicate host name "a"`:        func(n *udptest.Net, _ *udptest.Host) { n.Host("a", "10.0.0.2") },
	`udptest: b: "10.0.0" is neither an address nor a prefix`: func(n *udptest.Net, _ *udptest.Host) {
		n.Host("b", "10.0.0")
	},
	`udptest: b: 224.0.0.1 is not a unicast address of an interface`: func(n *udptest.Net, _ *udptest.Host) { n.Host("b", "224.0.0.1") },
	`udptest: invalid host name "b c"`:                               func(n *udptest.Net, _ *udptest.Host) { n.Host("b c", "10.0.0.2") },
	`udptest: a has no interface "eth7"`:                             func(_ *udptest.Net, a *udptest.Host) { a.Interface("eth7") },
	`udptest: a: duplicate interface eth0`: func(n *udptest.Net, a *udptest.Host) {
		a.Attach(n.Segment("x"), "eth0", "10.0.0.9")
	},
	`udptest: a: duplicate interface lo`:         func(_ *udptest.Net, a *udptest.Host) { a.Interface("eth0").Rename("lo") },
	`udptest: a has no address 10.0.0.2 on eth0`: func(_ *udptest.Net, a *udptest.Host) { a.Interface("eth0").RemoveAddr("10.0.0.2") },
	`udptest: a: duplicate address fd00::2`: func(n *udptest.Net, a *udptest.Host) {
		a.Attach(n.Segment("x"), "eth1", "fd00::2").Rename("eth2")
		a.Interface("eth0").AddAddr("fd00::2")
	},
	`udptest: a: the loopback interface cannot be changed`:                    func(_ *udptest.Net, a *udptest.Host) { a.Interface("lo").AddAddr("10.0.0.2") },
	`udptest: a: eth0 was removed`:                                            func(_ *udptest.Net, a *udptest.Host) { i := a.Interface("eth0"); i.Remove(); i.Rename("eth1") },
	`udptest: duplicate segment "lan"`:                                        func(n *udptest.Net, _ *udptest.Host) { n.Segment("lan") },
	`udptest: a cannot reach its gateway fd00::1: it is on none of its links`: func(_ *udptest.Net, a *udptest.Host) { a.SetGateway("fd00::1") },
	`udptest: a partition divides hosts of this network`: func(n *udptest.Net, _ *udptest.Host) {
		n.Partition([]*udptest.Host{udptest.NewNet(nil, udptest.Config{}).Host("z", "10.0.0.1")})
	},
	`udptest: a is in two groups of the partition`: func(n *udptest.Net, a *udptest.Host) {
		n.Partition([]*udptest.Host{a}, []*udptest.Host{a})
	},
	`udptest: a and b share no segment`: func(n *udptest.Net, a *udptest.Host) {
		n.Path(a, n.Segment("far").Host("b", "10.0.0.2"))
	},
	`udptest: duplicate host name "A"`:                             func(n *udptest.Net, _ *udptest.Host) { n.AddName("A", "10.0.0.2") },
	`udptest: a: MTU of eth0 is 67, and the minimum is 68`:         func(_ *udptest.Net, a *udptest.Host) { a.Interface("eth0").SetMTU(67) },
	`udptest: a: MTU of eth0 is 65536, and no IP packet is longer`: func(_ *udptest.Net, a *udptest.Host) { a.Interface("eth0").SetMTU(65536) },
	`udptest: b: MTU of eth0 is 1279, and the minimum is 1280`:     func(n *udptest.Net, _ *udptest.Host) { n.Host("b", "fd00::2").Interface("eth0").SetMTU(1279) },
	`udptest: a: MTU of eth0 is 1000, and the minimum is 1280`: func(_ *udptest.Net, a *udptest.Host) {
		a.Interface("eth0").SetMTU(1000)
		a.Interface("eth0").AddAddr("fd00::1")
	},
	`udptest: b has no interface other than lo`:                                        func(n *udptest.Net, _ *udptest.Host) { n.Router("b").SetLink(udptest.Faults{}) },
	`udptest: a path from a to itself: use its interface lo`:                           func(n *udptest.Net, a *udptest.Host) { n.SetPath(a, a, udptest.Faults{}) },
	`udptest: a is not a router`:                                                       func(_ *udptest.Net, a *udptest.Host) { a.ForwardMulticast() },
	`udptest: a: FailRead or FailSend of call number 0`:                                func(_ *udptest.Net, a *udptest.Host) { a.FailRead(1, 0, syscall.EIO) },
	`udptest: a: FailRead or FailSend with a nil error`:                                func(_ *udptest.Net, a *udptest.Host) { a.FailSend(1, 1, nil) },
	`udptest: segment without a name`:                                                  func(n *udptest.Net, _ *udptest.Host) { n.Segment("") },
	`udptest: a: invalid interface name ""`:                                            func(n *udptest.Net, a *udptest.Host) { a.Attach(n.Segment("x"), "", "10.9.0.1") },
	`udptest: a: invalid interface name "e 0"`:                                         func(n *udptest.Net, a *udptest.Host) { a.Attach(n.Segment("x"), "e 0", "10.9.0.1") },
	`udptest: a: invalid interface name "e%0"`:                                         func(_ *udptest.Net, a *udptest.Host) { a.Interface("eth0").Rename("e%0") },
	`udptest: a: invalid interface name "\t"`:                                          func(_ *udptest.Net, a *udptest.Host) { a.Interface("eth0").Rename("\t") },
	`udptest: a is its own gateway: 10.0.0.1`:                                          func(_ *udptest.Net, a *udptest.Host) { a.SetGateway("10.0.0.1") },
	`udptest: a: no interface has the address of its gateway 10.0.0.77`:                func(_ *udptest.Net, a *udptest.Host) { a.SetGateway("10.0.0.77") },
	`udptest: b: 10.0.0.0/24 is the address of the network or its broadcast address`:   func(n *udptest.Net, _ *udptest.Host) { n.Host("b", "10.0.0.0/24") },
	`udptest: b: 10.0.0.255/24 is the address of the network or its broadcast address`: func(n *udptest.Net, _ *udptest.Host) { n.Host("b", "10.0.0.255/24") },
	`udptest: name "b": no addresses`:                                                  func(n *udptest.Net, _ *udptest.Host) { n.AddName("b") },
	`udptest: a path from a to itself`:                                                 func(n *udptest.Net, a *udptest.Host) { n.Path(a, a) },
	`udptest: the outside of a NAT must be an interface`: func(n *udptest.Net, a *udptest.Host) {
		n.Router("r").SetNAT(a.Interface("eth0"), udptest.NATConfig{})
	},
	`udptest: invalid host name ""`:                func(n *udptest.Net, _ *udptest.Host) { n.Router("") },
	`udptest: invalid host name "s c"`:             func(n *udptest.Net, _ *udptest.Host) { n.Segment("x").Host("s c", "10.0.0.2") },
	`udptest: a: eth1 was removed`:                 func(n *udptest.Net, a *udptest.Host) { i := a.Attach(n.Segment("x"), "eth1"); i.Remove(); i.Remove() },
	`udptest: out has no interface other than lo`:  func(n *udptest.Net, _ *udptest.Host) { n.Router("out").Out() },
	`udptest: in has no interface other than lo`:   func(n *udptest.Net, _ *udptest.Host) { n.Router("in").In() },
	`Loss is a probability and not from 0 to 1: 2`: func(_ *udptest.Net, a *udptest.Host) { a.Out().Set(udptest.Faults{Loss: 2}) },
}

func TestBuildingWronglyFailsAtOnce(t *testing.T) {
	for name, build := range wronglyBuilt {
		t.Run(name, func(t *testing.T) {
			n := udptest.NewNet(nil, udptest.Config{})
			a := n.Host("a", "10.0.0.1/8")
			defer func() {
				err, ok := recover().(error)
				require.True(t, ok)
				require.Contains(t, strings.Replace(err.Error(), "r: ", "", 1), name)
			}()
			build(n, a)
		})
	}
}

// charged is a test that notes which file's line would be charged with a failure.
type charged struct {
	testing.TB
	helpers map[string]bool // functions
	file    string
}

func (c *charged) frames() *runtime.Frames {
	pcs := make([]uintptr, 50)
	return runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
}

func (c *charged) Helper() {
	f, _ := c.frames().Next()
	c.helpers[f.Function] = true
}

func (c *charged) Fatal(...any) {
	for frames, more := c.frames(), true; more; {
		var f runtime.Frame
		if f, more = frames.Next(); !c.helpers[f.Function] {
			c.file = filepath.Base(f.File)
			break
		}
	}
	runtime.Goexit()
}

func TestABuildingErrorIsReportedAtItsCaller(t *testing.T) {
	for name, build := range wronglyBuilt {
		t.Run(name, func(t *testing.T) {
			c := &charged{TB: t, helpers: make(map[string]bool)}
			done := make(chan struct{})
			go func() {
				defer close(done)
				n := udptest.NewNet(c, udptest.Config{})
				build(n, n.Host("a", "10.0.0.1/8"))
			}()
			<-done
			require.Equal(t, "building_test.go", c.file)
		})
	}
	c := &charged{TB: t, helpers: make(map[string]bool)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		udptest.NewNet(c, udptest.Config{Tick: -1})
	}()
	<-done
	require.Equal(t, "building_test.go", c.file)
}

func TestAddressesAtTheEndsOfAPrefixThatMayBe(t *testing.T) {
	n := udptest.NewNet(t, udptest.Config{})
	for i, addr := range []string{"10.1.0.0/31", "10.1.0.1/31", "10.2.0.255/32", "10.3.0.255/23", "10.4.1.0/23", "10.5.0.0", "fd00::/64"} {
		n.Host(fmt.Sprint("h", i), addr)
	}
}

func TestNamesResolve(t *testing.T) {
	n := udptest.NewNet(t, udptest.Config{})
	a := n.Host("a", "10.0.0.1", "fd00::1")
	n.AddName("www.example.net", "10.0.0.1", "10.0.0.2")
	for address, want := range map[string]string{
		"a:1": "[10.0.0.1:1 [fd00::1]:1]", "WWW.example.net.:1": "[10.0.0.1:1 10.0.0.2:1]",
		"localhost:1": "[127.0.0.1:1 [::1]:1]", "10.9.9.9:1": "[10.9.9.9:1]",
	} {
		got, err := on(a).Resolve(ctx, "udp", address)
		require.NoError(t, err)
		require.Equal(t, want, fmt.Sprint(got))
	}
	_, err := on(a).Resolve(ctx, "udp6", "www.example.net:1")
	require.ErrorContains(t, err, "no suitable address")
	got := <-on(a).ResolveAsync(ctx, "udp4", "a:1")
	require.Equal(t, "10.0.0.1:1", got.Addrs[0].String())
}

func TestStringDrawsTheNetwork(t *testing.T) {
	n, a, r, b := routed(t)
	a.Out().Set(udptest.Faults{Loss: 0.1, Latency: 30 * time.Millisecond})
	n.Path(r, b).SetDown(true)
	r.SetNAT(r.Interface("eth1"), udptest.NATConfig{Mapping: udptest.AddressAndPortDependent, Filtering: udptest.AddressDependent})
	r.Out().Set(udptest.Faults{Rate: 1e6, Depth: 1500, Queue: 3000, Jitter: time.Millisecond, Ordered: true})
	a.Interface("lo").Out().Set(udptest.Faults{Loss: 0.5})
	a.Interface("lo").In().SetDown(true)
	n.Router("spare")
	n.Segment("empty")
	b.Crash()
	n.Partition([]*udptest.Host{a, r}, []*udptest.Host{b})
	require.Equal(t, strings.TrimPrefix(`
left
├─ r eth0 10.1.0.254/24 fd01::ff/64 (router)
│     eth0 out: jitter 1ms, ordered, 1000000 bit/s, bucket of 1500 bytes, queue of 3000 bytes
└─ a eth0 10.1.0.1/24 fd01::1/64 (gateways 10.1.0.254 fd01::ff)
      eth0 out: loss 10%, latency 30ms
      lo: loss 50%
      lo in: down
right
├─ r eth1 10.2.0.254/24 fd02::ff/64 (router) (NAT: mapping address- and port-dependent, filtering address-dependent)
│     to b: down
└─ b eth0 10.2.0.1/24 fd02::1/64 (gateways 10.2.0.254 fd02::ff) (crashed)
empty
nowhere
└─ spare (router)
partition: r a | b | the others
`, "\n"), n.String())
}

func TestStringDrawsPathsInTheOrderOfHosts(t *testing.T) {
	n := udptest.NewNet(t, udptest.Config{})
	hosts := make([]*udptest.Host, 5)
	for i := range hosts {
		hosts[i] = n.Host(fmt.Sprint("h", i), fmt.Sprintf("10.0.0.%d", i+1))
	}
	var want strings.Builder
	for i := range 4 {
		n.Path(hosts[4], hosts[3-i]).SetDown(true)
		fmt.Fprintf(&want, "      to h%d: down\n", i)
	}
	n.Path(hosts[0], hosts[1]) // does nothing
	require.True(t, strings.HasSuffix(n.String(), "h4 eth0 10.0.0.5\n"+want.String()), n)
}
