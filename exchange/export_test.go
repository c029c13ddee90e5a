package exchange

import (
	"context"
	"net/netip"
)

// SetResolver makes a client resolve names in another way.
func (c *Client[K]) SetResolver(resolve func(context.Context, string) ([]netip.AddrPort, error)) {
	c.names.resolve = resolve
}
