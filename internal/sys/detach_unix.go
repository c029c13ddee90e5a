//go:build unix

package sys

// CanDetach: Detach works, since descriptors can be duplicated.
const CanDetach = true
