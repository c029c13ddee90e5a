package sys

import "syscall"

// classifySystem classifies errnos that only Linux has.
func classifySystem(errno syscall.Errno) Class {
	if errno == syscall.ENONET { // "source host isolated"; icmp_err_convert in net/ipv4/icmp.c
		return Report
	}
	return Other
}
