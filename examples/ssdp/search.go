package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/udpkit/udp"
)

// search sends an M-SEARCH every second while it waits, since datagrams get lost, and prints each
// answer once.
func search(ctx context.Context, s settings, stdout io.Writer) error {
	// It joins no group: answers are sent to its own address.
	answers := udp.NewQueue(256, udp.DropNewest)
	m, err := udp.ListenMulticast(ctx, s.network(), ":0", answers)
	if err != nil {
		return err
	}
	defer m.Close()
	ctx, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	if err := m.SetMulticastTTL(2); err != nil {
		return err
	}
	mx := min(max(int(s.wait.Seconds())-1, 1), 5)
	b := message("M-SEARCH * HTTP/1.1", "HOST", s.group.String(), "MAN", `"ssdp:discover"`,
		"MX", strconv.Itoa(mx), "ST", s.rest[0], "USER-AGENT", product)
	began := time.Now()
	seen := map[string]bool{}
	again := time.NewTimer(0)
	defer again.Stop()
	for s.count == 0 || len(seen) < s.count {
		select {
		case <-again.C:
			// On each interface. One that works is enough.
			if _, err := m.SendGroup(b, s.group.Addr(), s.group.Port(), s.ifs...); err != nil {
				return err
			}
			again.Reset(time.Second)
		case d, open := <-answers.Datagrams():
			if !open { // the socket has stopped
				return cmp.Or(answers.Err(), net.ErrClosed)
			}
			if h, ok := parseAnswer(d.Data); ok {
				line := clean(fmt.Sprintf("%s at %s, a %s", h.Get("USN"), h.Get("LOCATION"), h.Get("ST")))
				if !seen[line] && len(seen) < 10_000 {
					seen[line] = true
					fmt.Fprintf(stdout, "%s, says %v\n", line, d.From)
				}
			}
			d.Release()
		case <-ctx.Done():
			if len(seen) == 0 || s.count > 0 {
				return fmt.Errorf("%d answers in %v", len(seen), time.Since(began).Round(10*time.Millisecond))
			}
			return nil
		}
	}
	return nil
}
