// Stun asks a server for the address that this host has outside (RFC 8489).
//
//	stun host:port
package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log"
	"net/netip"
	"os"

	"github.com/udpkit/udp/exchange"
)

const cookie = 0x2112A442

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: stun host:port")
	}
	c, err := exchange.New(exchange.Config[[12]byte]{Key: func(b []byte) (id [12]byte, ok bool) {
		return id, len(b) >= 20 && binary.BigEndian.Uint32(b[4:]) == cookie && copy(id[:], b[8:20]) == 12
	}})
	if err != nil {
		log.Fatal(err)
	}
	request := binary.BigEndian.AppendUint32([]byte{0, 1, 0, 0}, cookie) // a binding request, without attributes
	request = append(request, make([]byte, 12)...)
	rand.Read(request[8:])
	response, err := c.Do(context.Background(), os.Args[1], request)
	if err != nil {
		log.Fatal(err)
	}
	for b := response.Data[20:]; len(b) >= 4; {
		length := int(binary.BigEndian.Uint16(b[2:]))
		if 4+length > len(b) {
			break
		}
		if value := b[4 : 4+length]; binary.BigEndian.Uint16(b) == 0x0020 && length >= 8 { // XOR-MAPPED-ADDRESS
			for i := range value[4:] {
				value[4+i] ^= response.Data[4+i] // the cookie and the transaction ID
			}
			addr, _ := netip.AddrFromSlice(value[4:])
			fmt.Println(netip.AddrPortFrom(addr, binary.BigEndian.Uint16(value[2:])^cookie>>16))
			return
		}
		b = b[min(len(b), 4+(length+3)&^3):]
	}
	log.Fatal("no address in the response")
}
