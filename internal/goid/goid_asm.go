//go:build gc && !wasm

package goid

// Fast says whether ID costs a few nanoseconds only.
const Fast = true

// id returns the address of the running goroutine's descriptor (the g of Go's
// assembler manual). The address is only compared, never followed, so nothing
// here depends on what the runtime keeps there.
func id() uintptr
