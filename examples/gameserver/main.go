// Gameserver moves players in a world, thirty times a second, and sends the positions of all to
// each, until SIGINT or SIGTERM. A player is a session. It sends two signed bytes, its speed. It
// receives the number of the tick (4 bytes) and 8 bytes for each player: its number and its place.
//
//	gameserver [-listen host:port] [-players n]
package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/session"
)

const (
	tick        = time.Second / 30
	maxDatagram = 1200 // bytes of state: more than that may be cut up on its way
	size        = 1000 // of the world, which is a torus
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, udp.Config{}); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "gameserver:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer, cfg udp.Config) error {
	flags := flag.NewFlagSet("gameserver", flag.ContinueOnError)
	listen := flags.String("listen", ":7777", "`address` to listen on")
	players := flags.Int("players", 100, "how many may play at once")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return cmp.Or(err, errors.New("takes flags only"))
	}
	sessions := session.Config{IdleTimeout: 5 * time.Second, MaxSessions: *players}
	if err := sessions.Validate(); err != nil {
		return err
	}
	w := &world{}
	m := session.Handler(sessions, func(p *session.Peer) udp.Handler { return &player{world: w, peer: p} })
	cfg.PeerErrors = true // players that left are noticed at once, where the system can
	c, err := cfg.Listen(ctx, "udp", *listen, m)
	if errors.Is(err, errors.ErrUnsupported) {
		cfg.PeerErrors = false
		c, err = cfg.Listen(ctx, "udp", *listen, m)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "listening on", c.LocalAddrPort())
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			_, _ = c.SendBatch(w.step()) // what fails is counted, and the next tick comes soon
		case <-ctx.Done():
			err := c.Run(ctx, time.Second)
			s := m.Stats()
			fmt.Fprintf(stdout, "%d ticks, %d players, %d went silent\n", w.ticks, s.Begun, s.Idle)
			return err
		case <-c.Done():
			return c.Err()
		}
	}
}

// world is shared by the callbacks and the tick loop.
type world struct {
	mu      sync.Mutex
	ticks   uint32
	next    uint32
	players []*player
}

// step moves the players and returns a message with the new state for each.
func (w *world) step() []udp.Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ticks++
	state := binary.BigEndian.AppendUint32(nil, w.ticks)
	messages := make([]udp.Message, 0, len(w.players))
	for _, p := range w.players {
		p.x, p.y = wrap(p.x+p.dx), wrap(p.y+p.dy)
		if len(state)+8 <= maxDatagram {
			state = binary.BigEndian.AppendUint32(state, p.number)
			state = binary.BigEndian.AppendUint16(state, uint16(p.x))
			state = binary.BigEndian.AppendUint16(state, uint16(p.y))
		}
	}
	for _, p := range w.players {
		messages = append(messages, p.peer.Message(state))
	}
	return messages
}

func wrap(n int) int { return (n + size) % size }

// player is the Handler of a session.
type player struct {
	world        *world
	peer         *session.Peer
	number       uint32
	x, y, dx, dy int
}

func (p *player) Started(*udp.Conn) {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	p.world.next++
	p.number = p.world.next
	p.world.players = append(p.world.players, p)
}

func (p *player) Received(_ *udp.Conn, d udp.Datagram) {
	if len(d.Data) != 2 {
		d.Drop()
		return
	}
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	p.dx, p.dy = int(int8(d.Data[0])), int(int8(d.Data[1]))
}

func (p *player) Refused(*udp.Conn, *udp.Refusal) { p.peer.End() }

func (p *player) Stopped(*udp.Conn, error) {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	p.world.players = slices.DeleteFunc(p.world.players, func(o *player) bool { return o == p })
}
