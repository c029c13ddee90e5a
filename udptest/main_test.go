package udptest_test

import (
	"go.uber.org/goleak"
	"context"
	"testing"

)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()
