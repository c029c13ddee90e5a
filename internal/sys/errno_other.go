//go:build !unix && !windows

package sys

import "errors"

// repeat is unused: no socket has a peer here.
var repeat = errors.ErrUnsupported

// Classify returns the Class of an error of a read or a send.
func Classify(err error) Class {
	if errors.Is(err, EAGAIN) { // of the simulated network
		return Again
	}
	return classifyPortable(err)
}
