package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is also what the processes run that tests start: see child_test.go.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(child(role))
	}
	goleak.VerifyTestMain(m)
}
