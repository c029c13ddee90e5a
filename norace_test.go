//go:build !race

package udp_test

const thorough = true
