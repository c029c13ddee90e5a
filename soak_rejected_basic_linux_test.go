//go:build udpbasic

package udp_test

// rejectBatches has nothing to reject: there are no batches.
func (s *soak) rejectBatches() {}
