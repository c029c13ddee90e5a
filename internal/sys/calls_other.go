//go:build !unix

package sys

// Call returns err as package net made it: the names passed to Call are Unix's.
func Call(_ string, err error) error { return err }
