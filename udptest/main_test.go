package udptest_test

import (
	"context"
	"testing"

	"github.com/udpkit/udp/internal/books/check"
)

func TestMain(m *testing.M) { check.Main(m) }

var ctx = context.Background()
