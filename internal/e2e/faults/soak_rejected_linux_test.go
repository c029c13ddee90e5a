//go:build !udpbasic

package faults_test

import "golang.org/x/sys/unix"

// rejectBatches makes the kernel reject recvmmsg and sendmmsg from now on.
func (s *soak) rejectBatches() { reject(s.t, uint16(unix.ENOSYS)) }
