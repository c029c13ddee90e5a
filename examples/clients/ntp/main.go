// Ntp asks a server for the time (SNTP, RFC 4330), and prints how far this host's clock is off.
//
//	ntp host:port
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/udpkit/udp/exchange"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: ntp host:port")
	}
	c, err := exchange.New(exchange.Config[uint64]{Key: key})
	if err != nil {
		log.Fatal(err)
	}
	request := make([]byte, 48)
	request[0] = 4<<3 | 3 // version 4, client
	sent := time.Now()
	binary.BigEndian.PutUint64(request[40:], uint64(sent.UnixNano())) // returned unchanged
	response, err := c.Do(context.Background(), os.Args[1], request)
	if err != nil {
		log.Fatal(err)
	}
	arrived := time.Now()
	at := func(i int) time.Time {
		// Since 1900, and in units of 2^-32 seconds.
		fraction := uint64(binary.BigEndian.Uint32(response.Data[i+4:])) * 1e9 >> 32
		return time.Unix(int64(binary.BigEndian.Uint32(response.Data[i:]))-2_208_988_800, int64(fraction))
	}
	offset := (at(32).Sub(sent) + at(40).Sub(arrived)) / 2
	fmt.Printf("stratum %d, offset %v, round trip %v\n", response.Data[1], offset, arrived.Sub(sent)-at(40).Sub(at(32)))
}

// key is the time when the client has sent, which a server returns in another field.
func key(b []byte) (uint64, bool) {
	if len(b) < 48 {
		return 0, false
	}
	i := 24
	if b[0]&7 == 3 { // a client's
		i = 40
	}
	return binary.BigEndian.Uint64(b[i:]), true
}
