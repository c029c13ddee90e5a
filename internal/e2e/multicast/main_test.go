// Package multicast tests the multicast of package udp on the interfaces of network
// namespaces, and together with other programs.
package multicast_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
