//go:build !unix

package main

import "time"

// processorTime returns 0: this system is not asked for it.
func processorTime() time.Duration { return 0 }
