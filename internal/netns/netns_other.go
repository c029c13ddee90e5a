//go:build !linux

package netns

import (
	"net"
	"testing"
)

const why = "network namespaces are Linux's"

// Run skips the test: there are no namespaces here.
func Run(t *testing.T, _ func()) { t.Helper(); t.Skip(why) }

// Isolated skips the test: there are no namespaces here.
func Isolated(t *testing.T, _ func()) { t.Helper(); t.Skip(why) }

// New skips the test: there are no namespaces here.
func New(t testing.TB) *NS { t.Helper(); t.Skip(why); return nil }

// Self skips the test: there are no namespaces here.
func Self(t testing.TB) *NS { t.Helper(); t.Skip(why); return nil }

// Do skips the test.
func (n *NS) Do(func()) { n.t.Skip(why) }

// Command skips the test.
func (n *NS) Command(string, ...string) string { n.t.Skip(why); return "" }

// Try skips the test.
func (n *NS) Try(string, ...string) (string, error) { n.t.Skip(why); return "", nil }

// Rename skips the test.
func (n *NS) Rename(string, string) { n.t.Skip(why) }

// AwaitRunning skips the test.
func (n *NS) AwaitRunning(string) { n.t.Skip(why) }

// Interface skips the test.
func (n *NS) Interface(string) *net.Interface { n.t.Skip(why); return nil }

func (n *NS) veth(string, int, *NS, string, int) { n.t.Skip(why) }

// Move skips the test.
func (n *NS) Move(string, *NS) { n.t.Skip(why) }

func (n *NS) needIPv6() { n.t.Skip(why) }

func (n *NS) needRoutes() { n.t.Skip(why) }

func (n *NS) await(func() error) { n.t.Skip(why) }
