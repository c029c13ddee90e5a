package udp_test

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
	"github.com/udpkit/udp/udptest"
)

// mixed sends numbered datagrams of one goroutine in every way there is.
type mixed struct {
	t     *testing.T
	name  string
	group netip.AddrPort
	n     int // sent
}

func (m *mixed) next() []byte {
	m.n++
	return fmt.Appendf(nil, "%s %d", m.name, m.n)
}

// send uses one way after the other, so that each follows each. c is a MulticastConn's.
func (m *mixed) send(c *udp.MulticastConn, d udp.Datagram) {
	var err error
	switch turn := m.n % 7; {
	case turn < 2:
		err = d.Reply(m.next())
	case turn == 2:
		err = c.Enqueue(udp.Message{Data: m.next(), To: d.From})
	case turn == 3:
		err = c.SendTo(m.next(), d.From)
	case turn == 4:
		_, err = c.SendGroup(m.next(), m.group.Addr(), m.group.Port())
	case turn == 5:
		err = c.Enqueue(udp.Message{Data: m.next(), To: m.group})
	default:
		_, err = c.SendBatch([]udp.Message{{Data: m.next(), To: d.From}, {Data: m.next(), To: m.group}})
	}
	assert.NoError(m.t, err)
}

// What one goroutine sends on a socket leaves in the order of its calls, by whatever
// method, and wherever it is called.
func TestWhatOneGoroutineSendsLeavesInOrder(t *testing.T) {
	const requests = 300
	group := netip.MustParseAddrPort("239.1.2.3:5000")
	for _, kind := range []string{"Handler", "Queue", "Workers", "plain goroutine"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lan := udptest.NewNet(t, udptest.Config{}).Segment("lan")
				here, there := lan.Host("here", "10.0.0.2/24"), lan.Host("there", "10.0.0.3/24")
				var m *udp.MulticastConn
				ready := make(chan struct{})
				var senders []*mixed
				sender := func() *mixed {
					s := &mixed{t: t, name: fmt.Sprint("goroutine", len(senders)), group: group}
					senders = append(senders, s)
					return s
				}
				handler := func() udp.Handler {
					s := sender()
					return udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { <-ready; s.send(m, d) })
				}
				var h udp.Handler
				var consumer sync.WaitGroup
				kept := make(chan udp.Datagram, 1)
				switch kind {
				case "Handler":
					h = handler()
				case "Queue":
					q, s := udp.NewQueue(requests, udp.Block), sender()
					h = q
					consumer.Go(func() {
						<-ready
						for d := range q.Datagrams() {
							s.send(m, d)
							d.Release()
						}
					})
				case "Workers":
					h = sockettest.NewWorkers(t, udp.WorkersConfig{N: 3, Key: lastByte, PerWorker: func(int) udp.Handler { return handler() }})
				default:
					h = udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
						select {
						case kept <- d.Clone():
						default:
						}
					})
				}
				var err error
				m, err = udp.Config{Network: here.Network()}.ListenMulticast(t.Context(), "udp4", ":5000", h)
				require.NoError(t, err)
				t.Cleanup(func() { sockettest.Stop(t, m) })
				close(ready)
				q := udp.NewQueue(10*requests, udp.Block)
				peer, err := udp.Config{Network: there.Network(), ReadBuffer: 8 << 20}.ListenMulticast(t.Context(), "udp4", ":5000", q, group.Addr())
				require.NoError(t, err)
				t.Cleanup(func() { sockettest.Stop(t, peer) })
				for i := range requests {
					require.NoError(t, peer.SendTo(fmt.Append(nil, i), netip.MustParseAddrPort("10.0.0.2:5000")))
				}
				if kind == "plain goroutine" {
					d, s := <-kept, sender()
					for range requests {
						s.send(m, d)
					}
				}
				time.Sleep(time.Second) // of the bubble, until all has been sent and received
				sockettest.Stop(t, m)
				consumer.Wait()
				sockettest.Stop(t, peer)
				last, got := map[string]int{}, 0
				for d := range q.Datagrams() {
					var name string
					var n int
					_, err := fmt.Sscanf(string(d.Data), "%s %d", &name, &n)
					require.NoError(t, err)
					require.Equal(t, last[name]+1, n, "of %s", name)
					last[name] = n
					got++
					d.Release()
				}
				for _, s := range senders {
					require.Equal(t, s.n, last[s.name])
				}
				require.GreaterOrEqual(t, got, requests)
				require.Zero(t, m.Stats().SendErrors)
			})
		})
	}
}
