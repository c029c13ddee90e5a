//go:build !race

package buffer

func poison([]byte) {}

func count(int) {}

// Live returns the number of buffers in use, which is counted with the race detector
// only: every socket would write to the counter. Otherwise it is 0.
func Live() int { return 0 }
