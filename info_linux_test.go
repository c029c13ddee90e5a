package udp_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// However much is asked for, the buffer is not smaller than one of the default size.
func TestHugeBuffers(t *testing.T) {
	if strconv.IntSize == 32 {
		t.Skip("an int has 32 bits")
	}
	plain := sockettest.Listen(t, udp.Config{}, "udp4", udp.BaseHandler{}).Info()
	for _, shift := range []int{30, 31, 32, 40} {
		size := 1 << shift
		for _, more := range []int{-1, 0, 1, 1000} {
			i := sockettest.Listen(t, udp.Config{ReadBuffer: size + more, WriteBuffer: size + more}, "udp4", udp.BaseHandler{}).Info()
			require.GreaterOrEqual(t, i.ReadBuffer, plain.ReadBuffer, "%d", size+more)
			require.GreaterOrEqual(t, i.WriteBuffer, plain.WriteBuffer, "%d", size+more)
		}
	}
}
