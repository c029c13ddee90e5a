//go:build race

package group_test

// What a rolling restart is tested with: less, since everything takes longer.
const (
	flows     = 100
	restarts  = 5
	perSecond = 2000
)
