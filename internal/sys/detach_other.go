//go:build !unix

package sys

// CanDetach: Detach works, which it does not here.
const CanDetach = false
