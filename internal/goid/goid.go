// Package goid tells goroutines apart. A socket needs it for two promises:
// Close called by a callback must not wait for that callback, and what a
// callback sends may be gathered while what others send may not.
package goid

// ID names the calling goroutine. It is unique among the living ones and never
// zero; a goroutine that starts after another has ended may get its ID again.
func ID() uintptr { return id() }
