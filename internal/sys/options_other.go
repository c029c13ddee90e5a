//go:build !unix && !windows

package sys

import (
	"errors"
	"syscall"
)

func setTrafficClass(syscall.RawConn, uint8) error { return errors.ErrUnsupported }
func setTTL(syscall.RawConn, uint8) error          { return errors.ErrUnsupported }
func dontFragment(syscall.RawConn) error           { return errors.ErrUnsupported }

// haveControlMessages: these systems have none.
const haveControlMessages = false
