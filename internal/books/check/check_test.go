package check

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/books"
)

func TestOnlyBooksThatNeverBalanceFail(t *testing.T) {
	even, odd, negative := books.Balance{Received: 3, Handled: 1, Dropped: 2}, books.Balance{Received: 1}, books.Balance{Handled: -1, Dropped: 1}
	for name, test := range map[string]struct {
		then, now books.Balance
		want      int
	}{
		"even":                      {even, even, 0},
		"even in the end":           {odd, even, 0},
		"odd":                       {odd, odd, 1},
		"even, but one is negative": {negative, negative, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var k keeper
			b := test.then
			k.stopped("a socket", func() books.Balance { return b })
			b = test.now
			require.Equal(t, test.want, k.close())
		})
	}
}
