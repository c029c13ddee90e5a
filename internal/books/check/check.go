// Package check is the TestMain of all packages whose tests have sockets.
package check

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/udpkit/udp/internal/books"
)

// Main runs the tests, and fails when a goroutine is left or when the books of a
// socket that has stopped don't balance: then datagrams are missing in its counters,
// or in them twice.
func Main(m *testing.M) {
	var k keeper
	books.Stopped = k.stopped
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { os.Exit(max(code, k.close())) }))
}

// keeper has the sockets whose books did not balance when they stopped. Others may
// have been passing on what such a socket had received, so that is no verdict yet.
type keeper struct {
	mu   sync.Mutex
	open []account
}

type account struct {
	socket  string
	balance func() books.Balance
}

func (k *keeper) stopped(socket string, balance func() books.Balance) {
	if balance().Even() {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open = append(k.open, account{socket, balance})
}

// close is called when no goroutine is left. It returns a process's exit status.
func (k *keeper) close() (status int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range k.open {
		if b := a.balance(); !b.Even() {
			fmt.Fprintf(os.Stderr, "the books of %s don't balance: %+v\n", a.socket, b)
			status = 1
		}
	}
	return status
}
