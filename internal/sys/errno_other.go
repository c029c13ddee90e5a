//go:build !unix && !windows

package sys

// Classify says what an error of a read or a send means.
func Classify(err error) Class { return classifyPortable(err) }
