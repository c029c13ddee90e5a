package session

import (
	"errors"
	"net"
)

// unmade is the error of a zero value's methods.
func unmade(op, name, by string) error {
	return &net.OpError{Op: op, Net: "udp", Err: &ConfigError{name, "must be created by " + by}}
}

// Reasons why a session ended that package net has no error for. A session that its own program
// closed reports [net.ErrClosed]. One whose socket stopped reports the socket's error, or
// net.ErrClosed if the socket was closed.
var (
	// ErrIdle means that the peer sent nothing for Config.IdleTimeout.
	ErrIdle = errors.New("session: the peer was idle for too long")
	// ErrEvicted means that a new peer needed the place of this unconfirmed session: see
	// Config.MaxSessions.
	ErrEvicted = errors.New("session: evicted in favor of a new peer")
)
