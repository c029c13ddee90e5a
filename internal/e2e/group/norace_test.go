//go:build !race

package group_test

// What a rolling restart is tested with.
const (
	flows     = 1000
	restarts  = 20
	perSecond = 50000
)
