package goid

import (
	"sync"
	"testing"
)

func TestIDIsStableAndUniqueAmongTheLiving(t *testing.T) {
	mine := ID()
	if mine == 0 {
		t.Fatal("ID is zero")
	}
	grow(200) // a stack that moved must not change it
	if again := ID(); again != mine {
		t.Fatalf("ID changed from %#x to %#x", mine, again)
	}

	const n = 100
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		seen    = map[uintptr]bool{mine: true}
		release = make(chan struct{})
		counted = make(chan struct{}, n)
	)
	for range n {
		wg.Go(func() {
			id := ID()
			mu.Lock()
			seen[id] = true
			mu.Unlock()
			counted <- struct{}{}
			<-release
			if ID() != id {
				t.Errorf("ID changed from %#x", id)
			}
		})
	}
	for range n {
		<-counted
	}
	close(release)
	wg.Wait()
	if len(seen) != n+1 {
		t.Fatalf("%d goroutines had %d IDs", n+1, len(seen))
	}
}

//go:noinline
func grow(depth int) byte {
	var pad [1024]byte
	pad[depth%len(pad)] = byte(depth)
	if depth == 0 {
		return pad[0]
	}
	return grow(depth-1) + pad[len(pad)-1]
}
