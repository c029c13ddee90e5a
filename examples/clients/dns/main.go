// Dns asks a name server for the addresses of a name.
//
//	dns host:port name
package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"os"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/udpkit/udp/exchange"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: dns host:port name")
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(server, host string) error {
	name, err := dnsmessage.NewName(host + ".")
	if err != nil {
		return err
	}
	m := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	m.ID, m.RecursionDesired = 4711, true // any: the port is random
	query, err := m.Pack()
	if err != nil {
		return err
	}
	c, err := exchange.New(exchange.Config[uint16]{SocketPerRequest: true, Key: func(b []byte) (uint16, bool) {
		return binary.BigEndian.Uint16(append(b, 0, 0)), len(b) >= 12
	}})
	if err != nil {
		return err
	}
	defer c.Close()
	response, err := c.Do(context.Background(), server, query)
	if err != nil {
		return err
	}
	if err := m.Unpack(response.Data); err != nil || m.RCode != dnsmessage.RCodeSuccess {
		return cmp.Or(err, fmt.Errorf("%s: %v", host, m.RCode))
	}
	for _, r := range m.Answers {
		if a, ok := r.Body.(*dnsmessage.AResource); ok {
			fmt.Printf("%d.%d.%d.%d\n", a.A[0], a.A[1], a.A[2], a.A[3])
		}
	}
	return nil
}
