//go:build !linux && !darwin

package sys

import (
	"errors"
	"syscall"
)

func setDevice(syscall.RawConn, string) error { return errors.ErrUnsupported }
