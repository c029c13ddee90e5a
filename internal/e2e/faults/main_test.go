// Package faults tests sockets whose host fails them: system calls are rejected, descriptors
// run out, sockets are destroyed from outside and interfaces removed. TestSoak does all of it
// at once.
package faults_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
