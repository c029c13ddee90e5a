// Radius asks a server whether a name and password are right (RFC 2865).
//
//	radius host:port secret name password
package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"fmt"
	"log"
	"os"
	"slices"

	"github.com/udpkit/udp/exchange"
)

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: radius host:port secret name password")
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		log.Fatal(err)
	}
}

func run(server, secret, name, password string) error {
	c, err := exchange.New(exchange.Config[byte]{
		Key: func(b []byte) (byte, bool) { return append(b, 0, 0)[1], len(b) >= 20 },
		Match: func(request, response []byte) bool { // only who has the secret can make this
			sum := md5.Sum(slices.Concat(response[:4], request[4:20], response[20:], []byte(secret)))
			return bytes.Equal(sum[:], response[4:20])
		},
	})
	if err != nil {
		return err
	}
	defer c.Close()
	request := make([]byte, 20) // code, identifier, length and authenticator
	rand.Read(request[1:])
	hidden := make([]byte, (max(len(password), 1)+15)&^15)
	copy(hidden, password)
	for i, last := 0, request[4:20]; i < len(hidden); i += 16 {
		sum := md5.Sum(append([]byte(secret), last...))
		for j := range sum {
			hidden[i+j] ^= sum[j]
		}
		last = hidden[i : i+16]
	}
	request = append(append(request, 1, byte(2+len(name))), name...)
	request = append(append(request, 2, byte(2+len(hidden))), hidden...)
	request[0], request[2], request[3] = 1, byte(len(request)>>8), byte(len(request))
	response, err := c.Do(context.Background(), server, request)
	if err == nil {
		fmt.Println(map[byte]string{2: "accepted", 3: "rejected", 11: "challenged"}[response.Data[0]])
	}
	return err
}
