//go:build !udpbasic

package sys

// basic says whether the portable packet path is in use.
const basic = false
