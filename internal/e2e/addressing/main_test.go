// Package addressing tests, on hosts with several addresses, interfaces and zones, where
// datagrams leave from and what replies say.
package addressing_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
