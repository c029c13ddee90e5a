//go:build !unix

package sys

// Call leaves err as package net has made it: the names that it is called with are
// those of Unix.
func Call(_ string, err error) error { return err }
