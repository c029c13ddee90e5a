//go:build !unix && !windows

package sys

import "errors"

// repeat is of no use where no socket has a peer.
var repeat = errors.ErrUnsupported

// Classify says what an error of a read or a send means.
func Classify(err error) Class {
	if errors.Is(err, EAGAIN) { // of the simulated network
		return Again
	}
	return classifyPortable(err)
}
