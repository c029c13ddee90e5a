//go:build !linux && !darwin

package sys

import (
	"errors"
	"syscall"
)

func bindToDevice(syscall.RawConn, string) error { return errors.ErrUnsupported }
