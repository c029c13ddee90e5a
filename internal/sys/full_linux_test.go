//go:build !udpbasic

package sys

// basic reports whether the portable packet path is in use.
const basic = false
