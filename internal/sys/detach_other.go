//go:build !unix && !windows

package sys

// CanDetach: Detach works, which it does not here.
const CanDetach = false
