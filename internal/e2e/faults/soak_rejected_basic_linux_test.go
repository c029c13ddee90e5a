//go:build udpbasic

package faults_test

// rejectBatches has nothing to reject: there are no batches.
func (s *soak) rejectBatches() {}
