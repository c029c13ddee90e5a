//go:build race

package udp_test

// thorough says that tests may move millions of datagrams; the race detector is
// too slow for that.
const thorough = false
