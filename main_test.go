package udp_test

import (
	"testing"

	"github.com/udpkit/udp/internal/books/check"
)

// No goroutine outlives its socket, and the books of each balance.
func TestMain(m *testing.M) { check.Main(m) }
