// Snmp asks an agent for its description: sysDescr, by SNMP version 2c (RFC 3416).
//
//	snmp host:port community
package main

import (
	"context"
	"encoding/asn1"
	"fmt"
	"log"
	"os"

	"github.com/udpkit/udp/exchange"
)

type message struct {
	Version   int
	Community []byte
	PDU       asn1.RawValue // a pdu with a tag of its own
}

type pdu struct {
	ID, Status, Index int
	Bindings          []binding
}
type binding struct {
	Name  asn1.ObjectIdentifier
	Value asn1.RawValue
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: snmp host:port community")
	}
	c, err := exchange.New(exchange.Config[int]{Key: func(b []byte) (int, bool) {
		p, err := decode(b)
		return p.ID, err == nil
	}})
	if err != nil {
		log.Fatal(err)
	}
	sysDescr := []binding{{asn1.ObjectIdentifier{1, 3, 6, 1, 2, 1, 1, 1, 0}, asn1.NullRawValue}}
	get, _ := asn1.MarshalWithParams(pdu{ID: os.Getpid(), Bindings: sysDescr}, "tag:0")
	request, _ := asn1.Marshal(message{1, []byte(os.Args[2]), asn1.RawValue{FullBytes: get}})
	response, err := c.Do(context.Background(), os.Args[1], request)
	if err != nil {
		log.Fatal(err)
	}
	if p, err := decode(response.Data); err == nil && len(p.Bindings) == 1 {
		fmt.Printf("%s\n", p.Bindings[0].Value.Bytes)
	}
}

func decode(b []byte) (p pdu, err error) {
	var m message
	if _, err = asn1.Unmarshal(b, &m); err == nil {
		_, err = asn1.UnmarshalWithParams(m.PDU.FullBytes, &p, fmt.Sprintf("tag:%d", m.PDU.Tag))
	}
	return p, err
}
