package bounded_test

import (
	"testing"

	"go.uber.org/goleak"
)

// No goroutine is left.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
