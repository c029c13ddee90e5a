//go:build !linux

package udp_test

func force(uintptr, int) bool { return false }
