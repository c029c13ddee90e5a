// Package udp is a toolkit for UDP services.
package udp
