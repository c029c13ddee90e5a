package ecosystem

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// A responder is the dns.ResponseWriter of a datagram.
type responder struct {
	dns.ResponseWriter // nil: TSIG and Hijack are not used
	d                  udp.Datagram
}

func (w responder) LocalAddr() net.Addr         { return net.UDPAddrFromAddrPort(w.d.To()) }
func (w responder) RemoteAddr() net.Addr        { return net.UDPAddrFromAddrPort(w.d.From) }
func (w responder) Close() error                { return nil }
func (w responder) Write(b []byte) (int, error) { return len(b), w.d.Reply(b) }
func (w responder) WriteMsg(m *dns.Msg) error {
	b, err := m.Pack()
	if err != nil {
		return err
	}
	return w.d.Reply(b)
}

// dnsHandler is a udp.Handler that has h answer the questions.
func dnsHandler(h dns.Handler) udp.HandlerFunc {
	return func(_ *udp.Conn, d udp.Datagram) {
		q := new(dns.Msg)
		if q.Unpack(d.Data) != nil || q.Response {
			d.Drop()
			return
		}
		h.ServeDNS(responder{d: d}, q)
	}
}

// A program of package dns runs on a Handler, with its own dns.Handler.
func TestDNSResponseWriter(t *testing.T) {
	everywhere(t, func(t *testing.T, server, client place) {
		s, err := server.Listen(t.Context(), "udp4", net.JoinHostPort(server.addr, "0"), dnsHandler(dns.HandlerFunc(answer)))
		require.NoError(t, err)
		defer func() { s.Close(); <-s.Done() }()
		conn := &dns.Conn{Conn: client.dial(t, s.LocalAddr())}
		defer conn.Close()
		for range 100 {
			ask(t, client, conn)
		}
	})
}

const dnsServerRole = "UDPKIT_DNS_SERVER" // environment of a process that is a server of BenchmarkDNS

func TestMain(m *testing.M) {
	if role := os.Getenv(dnsServerRole); role != "" {
		if err := serveBenchmark(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveBenchmark answers questions, and prints its address and then, for each line that it
// reads, the CPU time that it has used.
func serveBenchmark(role string) error {
	cfg := udp.Config{ReadBuffer: benchBuffer, WriteBuffer: benchBuffer}
	h := dns.HandlerFunc(answer)
	var addr net.Addr
	if role == "handler" {
		c, err := cfg.Listen(context.Background(), "udp4", "127.0.0.1:0", dnsHandler(h))
		if err != nil {
			return err
		}
		addr = c.LocalAddr()
	} else {
		var c net.PacketConn
		var err error
		if role == "net" {
			c, err = net.ListenPacket("udp4", "127.0.0.1:0")
		} else {
			c, err = cfg.ListenPacket(context.Background(), "udp4", "127.0.0.1:0")
		}
		if err != nil {
			return err
		}
		if uc, ok := c.(*net.UDPConn); ok {
			_ = uc.SetReadBuffer(benchBuffer)
		}
		go func() { _ = (&dns.Server{PacketConn: c, Handler: h}).ActivateAndServe() }()
		addr = c.LocalAddr()
	}
	fmt.Println(addr)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			return err
		}
		fmt.Println(u.Utime.Nano() + u.Stime.Nano())
	}
	return nil
}

// BenchmarkDNS asks 60,000 questions, 16 at a time from each of 64 sockets. The server is a
// process of its own with GOMAXPROCS=1.
func BenchmarkDNS(b *testing.B) {
	over := func(role string) contenderFunc {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), dnsServerRole+"="+role, "GOMAXPROCS=1")
		cmd.Stderr = os.Stderr
		stdin, err := cmd.StdinPipe()
		require.NoError(b, err)
		stdout, err := cmd.StdoutPipe()
		require.NoError(b, err)
		require.NoError(b, cmd.Start())
		b.Cleanup(func() {
			stdin.Close()
			assert.NoError(b, cmd.Wait())
		})
		lines := bufio.NewReader(stdout)
		line := func() string {
			s, err := lines.ReadString('\n')
			require.NoError(b, err)
			return strings.TrimSpace(s)
		}
		used := func() time.Duration {
			_, err := fmt.Fprintln(stdin)
			require.NoError(b, err)
			n, err := strconv.ParseInt(line(), 10, 64)
			require.NoError(b, err)
			return time.Duration(n)
		}
		addr := line()
		return func(b *testing.B) cost {
			before, began := used(), time.Now()
			floodDNS(b, addr, 64, 16, 60_000)
			elapsed := time.Since(began)
			return cost{elapsed, used() - before}
		}
	}
	compare(b, contender{"net", over("net")}, contender{"packetconn", over("packetconn")}, contender{"handler", over("handler")})
}

// asker keeps a number of questions outstanding.
type asker struct {
	udp.BaseHandler
	query    []byte
	answered int
	left     *atomic.Int64 // questions to ask, of all askers
	waiting  *sync.WaitGroup
}

func (a *asker) Received(_ *udp.Conn, _ udp.Datagram) { a.answered++ }

func (a *asker) ReadDone(c *udp.Conn) {
	for ; a.answered > 0; a.answered-- {
		if a.left.Add(-1) >= 0 {
			_ = c.Enqueue(udp.Message{Data: a.query})
		}
		a.waiting.Done()
	}
}

func floodDNS(b *testing.B, addr string, sockets, outstanding, questions int) {
	query, err := new(dns.Msg).SetQuestion("a-name-of-some-length.example.org.", dns.TypeA).Pack()
	require.NoError(b, err)
	var left atomic.Int64
	left.Store(int64(questions - sockets*outstanding))
	var waiting sync.WaitGroup
	waiting.Add(questions)
	cfg := udp.Config{NoOffload: true, ReadBuffer: 1 << 20} // as clients of the network: nothing is coalesced
	conns := make([]*udp.ConnectedConn, sockets)
	for i := range conns {
		conns[i], err = cfg.Dial(context.Background(), "udp4", addr, &asker{query: query, left: &left, waiting: &waiting})
		require.NoError(b, err)
	}
	for _, c := range conns {
		for range outstanding {
			require.NoError(b, c.Send(query))
		}
	}
	waiting.Wait()
	for _, c := range conns {
		c.Close()
		<-c.Done()
	}
}
