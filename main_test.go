package udp_test

import (
	"testing"

	"go.uber.org/goleak"
)

// No goroutine outlives its socket.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
