//go:build !gc || wasm

package goid

import (
	"bytes"
	"runtime"
	"strconv"
)

// Fast says whether ID costs a few nanoseconds only.
const Fast = false

// id reads the number out of the first line of a stack trace, "goroutine 18
// [running]:", which every port of Go prints. It takes about a microsecond.
func id() uintptr {
	var buf [64]byte
	line := buf[:runtime.Stack(buf[:], false)]
	line = bytes.TrimPrefix(line, []byte("goroutine "))
	digits, _, _ := bytes.Cut(line, []byte(" "))
	n, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil {
		panic("udp: no goroutine number in a stack trace: " + string(line))
	}
	return uintptr(n)
}
