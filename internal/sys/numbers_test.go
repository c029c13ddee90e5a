package sys

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOptionsOfOtherSystems(t *testing.T) {
	none, refused := pair{}, errors.New("refused")
	for name, test := range map[string]struct{ got, want numbers }{
		"macOS":          {macOSNumbers, numbers{pair{3, 36}, pair{4, 4}, pair{28, 62}, pair{25, 125}}},
		"FreeBSD":        {freeBSDNumbers, numbers{pair{3, 61}, pair{4, 4}, pair{67, 62}, none}},
		"the other BSDs": {bsdNumbers, numbers{pair{3, 61}, pair{4, 4}, none, none}},
		"Windows":        {windowsNumbers, numbers{none, pair{4, 4}, pair{14, 14}, none}},
	} {
		require.Equal(t, test.want, test.got, name)
		for _, p := range []pair{test.got.class, test.got.ttl, test.got.dontFragment, test.got.device} {
			for _, v6 := range []bool{false, true} {
				// A socket of IPv6 alone refuses the option of IPv4, which is no error.
				var asked []pair
				err := p.set(v6, func(level, option int) error {
					asked = append(asked, pair{level, option})
					if v6 && level == 0 {
						return errors.New("not of this socket")
					}
					return nil
				})
				switch {
				case p == none:
					require.ErrorIs(t, err, errors.ErrUnsupported, name)
					require.Empty(t, asked)
				case v6:
					require.NoError(t, err, name)
					require.Equal(t, []pair{{0, p.v4}, {41, p.v6}}, asked, name)
				default:
					require.NoError(t, err, name)
					require.Equal(t, []pair{{0, p.v4}}, asked, name)
				}
				if p != none {
					err = p.set(v6, func(int, int) error { return refused })
					require.ErrorIs(t, err, refused, name)
				}
			}
		}
	}
}
