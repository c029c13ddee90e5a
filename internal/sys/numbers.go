package sys

import "errors"

// A pair is an option of IPv4 and the IPv6 option of the same meaning. In the zero pair the
// system has neither.
type pair struct{ v4, v6 int }

// numbers has the options that each system numbers in its own way. The numbers of all systems
// are in this file, so that they are tested on any; the file of each system compares its own
// with package unix or windows.
type numbers struct {
	class        pair // IP_TOS, IPV6_TCLASS
	ttl          pair // IP_TTL, IPV6_UNICAST_HOPS
	dontFragment pair // IP_DONTFRAG, IPV6_DONTFRAG
	device       pair // IP_BOUND_IF, IPV6_BOUND_IF, set to an index
}

const (
	levelIP   = 0
	levelIPv6 = 41

	bsdTOS         = 3
	bsdTTL         = 4
	bsdTClass      = 61
	bsdUnicastHops = 4
	bsdDontFrag6   = 62
	freeDontFrag   = 67
	macTClass      = 36
	macDontFrag    = 28
	macBoundIf     = 25
	macBoundIf6    = 125
	winTTL         = 4
	winUnicastHops = 4
	winDontFrag    = 14 // of both families
)

var (
	macOSNumbers = numbers{
		class: pair{bsdTOS, macTClass}, ttl: pair{bsdTTL, bsdUnicastHops},
		dontFragment: pair{macDontFrag, bsdDontFrag6}, device: pair{macBoundIf, macBoundIf6},
	}
	freeBSDNumbers = numbers{
		class: pair{bsdTOS, bsdTClass}, ttl: pair{bsdTTL, bsdUnicastHops},
		dontFragment: pair{freeDontFrag, bsdDontFrag6},
	}
	// bsdNumbers are those of DragonFly, NetBSD and OpenBSD, which have no IP_DONTFRAG.
	bsdNumbers = numbers{class: pair{bsdTOS, bsdTClass}, ttl: pair{bsdTTL, bsdUnicastHops}}
	// windowsNumbers has no class: Windows accepts IP_TOS but ignores it, unless a registry value
	// says otherwise. Policies set the DSCP instead.
	windowsNumbers = numbers{ttl: pair{winTTL, winUnicastHops}, dontFragment: pair{winDontFrag, winDontFrag}}
)

// set sets an option for the families that a socket can send to. A socket of both families
// needs both options. On a socket of IPv6 alone some systems reject IPv4's.
func (p pair) set(v6 bool, setsockopt func(level, option int) error) error {
	switch {
	case p == pair{}:
		return errors.ErrUnsupported
	case !v6:
		return setsockopt(levelIP, p.v4)
	}
	_ = setsockopt(levelIP, p.v4)
	return setsockopt(levelIPv6, p.v6)
}
