// Package refusals tests ICMP errors with routers that reject, forged messages and floods, each
// in a network namespace.
package refusals_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
