package ecosystem

import (
	"net"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// The server of miekg/dns answers from the address that was asked: on a socket of all
// addresses, the client of a second address accepts the answer.
func TestDNSAnswersFromTheAskedAddress(t *testing.T) {
	noLeak(t)
	to := serveDNS(t, place{addr: "0.0.0.0"}).(*net.UDPAddr)
	conn := &dns.Conn{Conn: place{}.dial(t, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2), Port: to.Port})}
	defer conn.Close()
	_, _, err := new(dns.Client).ExchangeWithConn(new(dns.Msg).SetQuestion("example.org.", dns.TypeA), conn)
	require.NoError(t, err)
}
