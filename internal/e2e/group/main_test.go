package group_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if address, ok := os.LookupEnv(childAddress); ok {
		os.Exit(child(address))
	}
	goleak.VerifyTestMain(m)
}
