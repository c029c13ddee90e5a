package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netsampler/goflow2/v2/decoders/netflow"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

var (
	testSource = netip.MustParseAddrPort("192.0.2.1:514")
	testTime   = time.Date(2026, 1, 1, 0, 0, 10, 0, time.UTC)
)

// decoded is what a decoder makes of data from testSource: JSON without the origin, or
// the error.
func decoded(t *testing.T, decode decoder, data []byte) string {
	t.Helper()
	before := slices.Clone(data)
	b, err := decode(udptest.Datagram(udptest.Header{From: testSource}, data), testTime)
	require.Equal(t, before, data)
	if err != nil {
		return err.Error()
	}
	require.True(t, json.Valid(b), "%s", b)
	rest, ok := strings.CutPrefix(string(b), `{"source":"192.0.2.1:514","received":"2026-01-01T00:00:10Z",`)
	require.True(t, ok, "%s", b)
	return "{" + rest
}

func TestSyslog(t *testing.T) {
	decode := newSyslog(Input{Timezone: "Europe/Berlin"})
	for _, tc := range []struct{ name, in, want string }{
		{"RFC 5424", `<165>1 2003-10-11T22:14:15.003Z host evntslog - ID47 [example@32473 iut="3" q="a\"b"] An event`,
			`{"format":"rfc5424","facility":"local4","severity":"notice","time":"2003-10-11T22:14:15.003Z","host":"host","app":"evntslog","msgid":"ID47","data":{"example@32473":{"iut":"3","q":"a\"b"}},"message":"An event"}`},
		{"RFC 5424 without a message", "<0>1 - - - - - -\n",
			`{"format":"rfc5424","facility":"kern","severity":"emerg","message":""}`},
		{"RFC 3164", "<34>Oct 11 22:14:15 mymachine su[77]: 'su root' failed\n",
			`{"format":"rfc3164","facility":"auth","severity":"crit","time":"2025-10-11T22:14:15+02:00","host":"mymachine","app":"su","procid":"77","message":"'su root' failed"}`},
		{"the year before", "<34>Dec 31 23:59:59 mymachine su: late",
			`{"format":"rfc3164","facility":"auth","severity":"crit","time":"2025-12-31T23:59:59+01:00","host":"mymachine","app":"su","message":"late"}`},
		{"RFC 3164 with an RFC 3339 timestamp", "<34>2026-01-01T00:00:00Z mymachine su: hello",
			`{"format":"rfc3164","facility":"auth","severity":"crit","time":"2026-01-01T00:00:00Z","host":"mymachine","app":"su","message":"hello"}`},
		{"no timestamp", "<13>only text, as some send it",
			`{"format":"rfc3164","facility":"user","severity":"notice","message":"only text, as some send it"}`},
		{"nothing but a priority", "<13>", `{"format":"rfc3164","facility":"user","severity":"notice","message":""}`},
		{"not UTF-8", "<13>\xff", `{"format":"rfc3164","facility":"user","severity":"notice","message":"` + "\ufffd" + `"}`},
		{"no priority", "hello", errPriority.Error()},
		{"empty", "", errPriority.Error()},
		{"priority too high", "<192>x", errPriority.Error()},
		{"RFC 5424, damaged", "<13>1 yesterday host app - - - x", "expecting a RFC3339MICRO timestamp or a nil value [col 6]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.want, strings.ReplaceAll(decoded(t, decode, []byte(tc.in)), `\ufffd`, "\ufffd"))
		})
	}
}

func TestStatsd(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"counter", "requests:1|c", `{"metrics":[{"name":"requests","type":"c","value":1}]}`},
		{"lines", "a:1|c\nb:-2.5|g\r\nc:+3|g\n\n",
			`{"metrics":[{"name":"a","type":"c","value":1},{"name":"b","type":"g","value":-2.5,"delta":true},{"name":"c","type":"g","value":3,"delta":true}]}`},
		{"sampled, with tags", "t:320|ms|@0.1|#env:prod,canary",
			`{"metrics":[{"name":"t","type":"ms","value":320,"rate":0.1,"tags":{"canary":"","env":"prod"}}]}`},
		{"several values", "t:1:2|d", `{"metrics":[{"name":"t","type":"d","value":1},{"name":"t","type":"d","value":2}]}`},
		{"set", "users:a:b|s", `{"metrics":[{"name":"users","type":"s","item":"a:b"}]}`},
		{"a bad line", "a:1|c\nb:x|c", `{"metrics":[{"name":"a","type":"c","value":1}],"malformed":["b:x|c"]}`},
		{"zero is a value", "a:0|g", `{"metrics":[{"name":"a","type":"g","value":0}]}`},
		{"not a number", "a:NaN|c", errStatsd.Error()},
		{"no value", "a:|c", errStatsd.Error()},
		{"unknown type", "a:1|z", errStatsd.Error()},
		{"rate", "a:1|c|@2", errStatsd.Error()},
		{"empty", "", errStatsd.Error()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.want, decoded(t, decodeStatsd, []byte(tc.in)))
		})
	}
}

func TestNetFlow5(t *testing.T) {
	decode := newNetFlow(Input{Templates: 10})
	want := `{"sourceIPv4Address":"10.0.0.1","destinationIPv4Address":"10.0.0.2","ipNextHopIPv4Address":"10.0.0.254","ingressInterface":1,"egressInterface":2,"packetDeltaCount":10,"octetDeltaCount":1000,"flowStartSysUpTime":4000,"flowEndSysUpTime":4500,"sourceTransportPort":1234,"destinationTransportPort":443,"tcpControlBits":27,"protocolIdentifier":6,"ipClassOfService":0,"bgpSourceAsNumber":65001,"bgpDestinationAsNumber":65002,"sourceIPv4PrefixLength":24,"destinationIPv4PrefixLength":16}`
	require.Equal(t, `{"version":5,"exported":"2023-11-14T22:13:20Z","uptime_ms":5000,"sequence":42,"domain":258,"sampling":100,"flows":[`+
		want+`,`+strings.Replace(want, `"packetDeltaCount":10`, `"packetDeltaCount":11`, 1)+`]}`, decoded(t, decode, netflow5(2)))

	lying := netflow5(1)
	copy(lying[2:], be16(65535))
	require.Equal(t, errLength.Error(), decoded(t, decode, lying))
	require.Equal(t, errLength.Error(), decoded(t, decode, netflow5(1)[:70]))
	require.Equal(t, errVersion.Error(), decoded(t, decode, be16(7, 1)))
	require.Equal(t, errVersion.Error(), decoded(t, decode, nil))
}

func TestNetFlow9(t *testing.T) {
	decode := newNetFlow(Input{Templates: 10})
	data := set(256, ip("10.0.0.1"), be32(1500), be16(443), ip("10.0.0.2"), be32(9), be16(53))
	require.Contains(t, decoded(t, decode, netflow9(data)), "template not found")

	template := set(0, template9(256, 8, 4, 1, 4, 7, 2))
	require.Equal(t, `{"version":9,"exported":"2023-11-14T22:13:20Z","uptime_ms":5000,"sequence":42,"domain":7,"templates":1}`,
		decoded(t, decode, netflow9(template)))
	require.Equal(t, `{"version":9,"exported":"2023-11-14T22:13:20Z","uptime_ms":5000,"sequence":42,"domain":7,"flows":[`+
		`{"sourceIPv4Address":"10.0.0.1","octetDeltaCount":1500,"sourceTransportPort":443},{"sourceIPv4Address":"10.0.0.2","octetDeltaCount":9,"sourceTransportPort":53}]}`,
		decoded(t, decode, netflow9(data)))

	options := set(1, be16(257, 4, 8), be16(1, 4), be16(34, 4, 36, 2))
	require.Equal(t, `{"version":9,"exported":"2023-11-14T22:13:20Z","uptime_ms":5000,"sequence":42,"domain":7,"templates":1,"options":[{"scopeSystem":1,"samplingInterval":1000,"flowActiveTimeout":60}]}`,
		decoded(t, decode, netflow9(options, set(257, be32(1, 1000), be16(60)))))
}

func TestIPFIX(t *testing.T) {
	decode := newNetFlow(Input{Templates: 10})
	template := set(2, be16(300, 6), be16(27, 16, 82, 0xffff, 56, 6, 1, 3), be16(0x8000|5, 2), be32(29305), be16(1, 8))
	data := set(300, ip("2001:db8::1"), []byte{3}, []byte("e\"0"), []byte{1, 2, 3, 4, 5, 6}, []byte{0, 1, 0}, be16(0xabcd), be32(0, 5))
	want := `"flows":[{"sourceIPv6Address":"2001:db8::1","interfaceName":"e\"0","sourceMacAddress":"01:02:03:04:05:06","octetDeltaCount":256,"enterprise29305.5":"abcd","octetDeltaCount_2":5}]`
	require.Equal(t, `{"version":10,"exported":"2023-11-14T22:13:20Z","sequence":42,"domain":7,"templates":1,`+want+`}`,
		decoded(t, decode, ipfix(template, data)))
	require.Contains(t, decoded(t, decode, ipfix(data)), want)

	options := set(3, be16(301, 2, 1), be16(149, 4, 41, 8))
	require.Contains(t, decoded(t, decode, ipfix(options, set(301, be32(7, 0, 9)))),
		`"templates":1,"options":[{"observationDomainId":7,"exportedMessageTotalCount":9}]`)
	require.Equal(t, errLength.Error(), decoded(t, decode, ipfix(data)[:30]))

	// A template that is replaced within a message: each set has the one before it.
	require.Contains(t, decoded(t, decode, ipfix(
		set(2, template9(400, 4, 1)), set(400, []byte{17}), set(2, template9(400, 4, 1, 5, 1)), set(400, []byte{6, 7}))),
		`"flows":[{"protocolIdentifier":17},{"protocolIdentifier":6,"ipClassOfService":7}]`)
}

// The library would read records of no bytes for ever, and make many fields of few bytes.
func TestTemplatesAreChecked(t *testing.T) {
	many := slices.Repeat([]int{4, 1}, maxFields+1)
	for name, tc := range map[string]struct {
		template []byte
		want     error
	}{
		"no bytes":             {template9(256, 4, 0), errFields},
		"more fields than 256": {template9(256, many...), errFields},
		"fields of no bytes":   {template9(256, append([]int{8, 4}, slices.Repeat([]int{4, 0}, 10)...)...), errFields},
	} {
		t.Run(name, func(t *testing.T) {
			decode := newNetFlow(Input{Templates: 10})
			require.Contains(t, decoded(t, decode, netflow9(set(0, tc.template), set(256, be32(1)))), tc.want.Error())
			require.Contains(t, decoded(t, decode, ipfix(set(2, tc.template), set(256, be32(1)))), tc.want.Error())
			require.Contains(t, decoded(t, decode, ipfix(set(256, be32(1)))), "template not found")
		})
	}
	decode := newNetFlow(Input{Templates: 10})
	require.Contains(t, decoded(t, decode, ipfix(set(2, template9(256, 82, 0xffff)), set(256, []byte{1, 'a'}))), errEmpty.Error())
	require.NotContains(t, decoded(t, decode, ipfix(set(2, be16(256, 0)))), "template with", "a withdrawal")
}

// A flood of templates of spoofed exporters neither takes memory without end nor
// pushes out those that are in use.
func TestTemplateFlood(t *testing.T) {
	const n = 100
	known := newTemplates(n)
	template := set(2, template9(256, 4, 1))
	data := ipfix(set(256, []byte{17}))
	genuine := decoding{templates: known, exporter: netip.MustParseAddr("192.0.2.1")}
	decode := func(d *decoding, message []byte) error {
		return netflow.DecodeMessageIPFIX(bytes.NewBuffer(message[2:]), d, &netflow.IPFIXPacket{})
	}
	require.NoError(t, decode(&genuine, ipfix(template)))
	require.NoError(t, decode(&genuine, data))
	spoofed := netip.MustParseAddr("10.0.0.0")
	for range 100 * n {
		spoofed = spoofed.Next()
		require.NoError(t, decode(&decoding{templates: known, exporter: spoofed}, ipfix(template)))
		require.LessOrEqual(t, known.cache.Len(), n)
	}
	require.NoError(t, decode(&genuine, data))
}

// Whatever arrives, decoders return, do not panic, and make valid JSON of bounded length. The
// first datagram may bring templates for the second.
func FuzzDecoders(f *testing.F) {
	ipfixed := func(b []byte) []byte { // past the first check
		if len(b) > 3 && b[1] == 10 {
			b = slices.Clone(b)
			copy(b[2:], be16(len(b)))
		}
		return b
	}
	seeds := [][]byte{
		[]byte(`<165>1 2003-10-11T22:14:15.003Z host app - ID47 [e@1 iut="3"] An event`),
		[]byte("<34>Oct 11 22:14:15 mymachine su[77]: failed"),
		[]byte("a:1|c|@0.1|#env:prod\nb:-2.5|g"),
		netflow5(3),
		netflow9(set(0, template9(256, 8, 4, 1, 4)), set(256, be32(1, 2, 3, 4)), set(1, be16(257, 4, 8), be16(1, 4), be16(34, 4, 36, 2)), set(257, be32(1, 2), be16(3))),
		ipfix(set(2, template9(256, 8, 4, 82, 0xffff)), set(256, be32(1), []byte{2, 'a', 'b'}), set(3, be16(301, 2, 1), be16(149, 4, 41, 8)), set(301, be32(1, 2, 3))),
	}
	check := func(t testing.TB, first, second []byte) {
		for name, f := range formats {
			decode := f.decoder(Input{Templates: 64})
			for _, data := range [][]byte{first, second, ipfixed(first), ipfixed(second)} {
				before := slices.Clone(data)
				b, err := decode(udptest.Datagram(udptest.Header{From: testSource}, data), testTime)
				require.Equal(t, before, data)
				require.LessOrEqual(t, len(b), maxJSON)
				if err == nil && name != "raw" {
					require.True(t, json.Valid(b), "%s: %s", name, b)
				}
			}
		}
	}
	for _, seed := range seeds {
		f.Add(seed, seed)
		f.Add(seed, []byte{})
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 2_000 { // tried by every run of the tests
		data := slices.Clone(seeds[random.IntN(len(seeds))])
		for range random.IntN(6) {
			switch i := random.IntN(len(data)); random.IntN(3) {
			case 0:
				data[i] = byte(random.Uint32())
			case 1:
				data[i] = byte([]int{0, 0xff, 1, 0x80}[random.IntN(4)])
			case 2:
				data = slices.Concat(data[:i], data[i/2:])
			}
		}
		check(f, seeds[random.IntN(len(seeds))], data)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) { check(t, first, second) })
}

// On a simulated network: two exporters with templates of the same number do not
// disturb each other, and what cannot be decoded is kept as it was.
func TestInputOnASimulatedNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{Seed: 1})
		here := n.Host("collector", "10.0.0.1")
		p := newPublisher(testLog(t))
		s, err := newSource(Input{Name: "flows", Format: "netflow", Address: ":2055", Workers: 2, Templates: 10, Malformed: keepMalformed}, "udp", p, newIDs())
		require.NoError(t, err)
		require.NoError(t, s.listen(t.Context(), here.Config()))

		send := func(address string, data ...[]byte) {
			h := n.Host(address, address)
			q, err := h.Config().Dial(t.Context(), "udp", "10.0.0.1:2055", udp.BaseHandler{})
			require.NoError(t, err)
			for _, b := range data {
				require.NoError(t, q.Send(b))
			}
			n.Settle()
			synctest.Wait()
			require.NoError(t, q.Close())
		}
		data := ipfix(set(256, []byte{6, 7}))
		send("10.0.0.2", ipfix(set(2, template9(256, 4, 1))), data)
		send("10.0.0.3", data, ipfix(set(2, template9(256, 4, 1, 5, 1))), data)
		require.NoError(t, s.group.Shutdown(t.Context()))
		close(p.in)

		bySource := make(map[string][]Record)
		for r := range p.in {
			bySource[r.Source.Addr().String()] = append(bySource[r.Source.Addr().String()], r)
		}
		two, three := bySource["10.0.0.2"], bySource["10.0.0.3"]
		require.Len(t, two, 2)
		require.Contains(t, string(two[1].Payload), `"flows":[{"protocolIdentifier":6},{"protocolIdentifier":7}]`)
		require.Equal(t, "udp.flows", two[1].Subject)
		require.Len(t, three, 3)
		require.Equal(t, "udp.flows.malformed", three[0].Subject)
		require.Contains(t, three[0].Fault, "template not found")
		require.True(t, three[0].Raw)
		require.Equal(t, data, three[0].Payload)
		require.Contains(t, string(three[2].Payload), `"flows":[{"protocolIdentifier":6,"ipClassOfService":7}]`)
		require.EqualValues(t, 5, s.counters.received.Load())
		require.EqualValues(t, 1, s.counters.malformed.Load())
	})
}
