//go:build !linux

package group_test

func child(string) int { return 0 }
