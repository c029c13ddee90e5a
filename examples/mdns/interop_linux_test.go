package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/program"
	"github.com/udpkit/udp/internal/netns"
)

// avahi is a host in another namespace, 192.0.2.2 and 2001:db8::2, named
// answerer. We are 192.0.2.1 and 2001:db8::1.
type avahi struct {
	*netns.NS
	t   *testing.T
	dir string
	bus string // address of D-Bus, by which avahi-daemon and its clients talk
}

func newAvahi(t *testing.T) *avahi {
	t.Helper()
	for _, name := range []string{"dbus-daemon", "avahi-daemon", "avahi-browse", "avahi-publish", "unshare"} {
		program.Need(t, name)
	}
	here, there := netns.Self(t), netns.New(t)
	netns.Veth(t, here, "eth", there, "eth")
	here.Addr("eth", "192.0.2.1/24", "2001:db8::1/64", "fe80::1/64")
	there.Addr("eth", "192.0.2.2/24", "2001:db8::2/64", "fe80::2/64")
	// Not t.TempDir, whose name may be too long for a socket.
	dir, err := os.MkdirTemp("", "avahi")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &avahi{NS: there, t: t, dir: dir, bus: "unix:path=" + filepath.Join(dir, "bus")}
}

// run starts avahi-daemon, and returns when it serves.
func (a *avahi) run() {
	a.t.Helper()
	a.start("dbus-daemon", "--config-file=testdata/bus.conf", "--nofork", "--print-address", "--address="+a.bus).
		Line("^unix:path=")
	a.start("unshare", "-m", "sh", "testdata/avahi.sh", a.dir).Line("^Server startup complete")
}

// start starts a program on that host.
func (a *avahi) start(name string, args ...string) (p *program.Program) {
	a.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+a.bus)
	a.Do(func() { p = program.StartCmd(a.t, nil, cmd) })
	return p
}

// What avahi-browse says of the service that announce announces.
const (
	ours         = `;eth;IPv[46];Our\\032Web;_http\._tcp;local`
	oursResolved = ours + `;ours\.local;(192\.0\.2\.1|2001:db8::1|fe80::1);8080;"path=/a"$`
)

func announceOurs(t *testing.T) *program.Program {
	t.Helper()
	return start(t, "announce", "-name", "Our Web", "-host", "ours", "_http._tcp", "8080", "path=/a")
}

func TestAvahiHearsOurAnnouncementAndGoodbye(t *testing.T) {
	netns.Isolated(t, func() {
		a := newAvahi(t)
		a.run()
		browser := a.start("avahi-browse", "--parsable", "--no-db-lookup", "--resolve", "_http._tcp")
		web := announceOurs(t)
		browser.Line(`^\+` + ours)
		browser.Line(`^=` + oursResolved)
		web.Stop()
		require.NoError(t, web.Err())
		browser.Line(`^-` + ours)
	})
}

func TestAvahiAsksAndWeAnswer(t *testing.T) {
	netns.Isolated(t, func() {
		a := newAvahi(t)
		// What is announced nobody hears, so they have to ask.
		web := announceOurs(t)
		web.Line("^announced again")
		a.run()
		browser := a.start("avahi-browse", "--parsable", "--no-db-lookup", "--resolve", "_http._tcp")
		web.Line(` asked for _http\._tcp\.local\.$`)
		browser.Line(`^=` + oursResolved)

		all := a.start("avahi-browse", "--parsable", "--no-db-lookup", "--all")
		web.Line(` asked for _services\._dns-sd\._udp\.local\.$`)
		all.Line(`^\+` + ours)
	})
}

func TestAvahiAnswersUs(t *testing.T) {
	netns.Isolated(t, func() {
		a := newAvahi(t)
		a.run()
		client := start(t, "query", "-wait", "1m", "-count", "2", "answerer.local")
		client.Line(`^answerer\.local\. (A 192\.0\.2\.2|AAAA (2001:db8::2|fe80::2)), says `)
		client.Rest()
		require.NoError(t, client.Err())

		browser := start(t, "browse", "-wait", "0", "_ipp._tcp")
		printer := a.start("avahi-publish", "-s", "Their Printer", "_ipp._tcp", "631", "color=yes")
		browser.Line(`^\+ Their Printer\._ipp\._tcp\.local\. at answerer\.local\.:631 \[.*192\.0\.2\.2.*\] \["color=yes"\]$`)
		printer.Stop()
		browser.Line(`^- Their Printer\._ipp\._tcp\.local\.$`)
	})
}

// An interface that comes while announce runs gets the service announced.
func TestAnnounceOnAnInterfaceThatIsCreatedLater(t *testing.T) {
	netns.Isolated(t, func() {
		here, there := netns.Self(t), netns.New(t)
		netns.Veth(t, here, "first", there, "first")
		here.Addr("first", "192.0.2.1/24")
		web := announceOurs(t)
		web.Line("^announced again")

		netns.Veth(t, here, "second", there, "second")
		there.Addr("second", "198.51.100.2/24")
		heard := udp.NewQueue(64, udp.DropOldest)
		var c *udp.MulticastConn
		var err error
		there.Do(func() {
			c, err = udp.Config{}.ListenMulticast(t.Context(), "udp4", ":5353", heard, groups["udp4"])
		})
		require.NoError(t, err)
		defer c.Close()
		here.Addr("second", "198.51.100.1/24")
		var m dnsmessage.Message
		d, err := heard.Receive(t.Context())
		require.NoError(t, err)
		require.NoError(t, m.Unpack(d.Data))
		require.Contains(t, lines(m.Answers), "ours.local. A 198.51.100.1")
		require.NotContains(t, lines(m.Answers), "ours.local. A 192.0.2.1", "the other interface's")
	})
}

// The destination of a link-local group has a zone.
func TestQueryOverIPv6Only(t *testing.T) {
	netns.Isolated(t, func() {
		here, there := netns.Self(t), netns.New(t)
		netns.Veth(t, here, "eth", there, "eth")
		here.Addr("eth", "fe80::1/64")
		there.Addr("eth", "fe80::2/64")
		web := announceOurs(t)
		web.Line("^announced again")
		client := start(t, "query", "-interface", "eth", "-type", "AAAA", "-count", "1", "-wait", "1m", "ours.local")
		client.Line(`^ours\.local\. AAAA fe80::1, says \[fe80::1%eth\]:5353$`)
		client.Rest()
		require.NoError(t, client.Err())
	})
}
