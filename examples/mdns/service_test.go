package main

import (
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

func web(t testing.TB) service {
	t.Helper()
	v, err := newService(settings{host: "box.example.org", name: "Web", rest: []string{"_http._tcp", "80", "path=/"}})
	require.NoError(t, err)
	return v
}

var addrs = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}

func TestAnswers(t *testing.T) {
	const (
		a        = "box.local. A 192.0.2.1"
		aaaa     = "box.local. AAAA 2001:db8::1"
		srv      = "Web._http._tcp.local. SRV box.local.:80"
		txt      = `Web._http._tcp.local. TXT ["path=/"]`
		ptr      = "_http._tcp.local. PTR Web._http._tcp.local."
		services = "_services._dns-sd._udp.local. PTR _http._tcp.local."
	)
	ptrRecord := dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("_http._tcp.local."), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET, TTL: otherTTL},
		Body:   &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName("Web._http._tcp.local.")},
	}
	old := ptrRecord
	old.Header.TTL = otherTTL/2 - 1
	question := func(name string, kind dnsmessage.Type, class dnsmessage.Class) dnsmessage.Question {
		return dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: kind, Class: class}
	}
	in := dnsmessage.ClassINET
	for _, test := range []struct {
		name                 string
		questions            []dnsmessage.Question
		known                []dnsmessage.Resource
		answers, additionals []string
	}{
		{name: "which types there are", questions: []dnsmessage.Question{question("_services._dns-sd._udp.local.", dnsmessage.TypePTR, in)},
			answers: []string{services}},
		{name: "a type: its instance, and what will be asked next", questions: []dnsmessage.Question{question("_http._tcp.local.", dnsmessage.TypePTR, in)},
			answers: []string{ptr}, additionals: []string{srv, txt, a, aaaa}},
		{name: "the case means nothing, and a unicast answer may be wished for", questions: []dnsmessage.Question{question("_HTTP._tcp.LOCAL.", dnsmessage.TypePTR, in|topBit)},
			answers: []string{ptr}, additionals: []string{srv, txt, a, aaaa}},
		{name: "where an instance is", questions: []dnsmessage.Question{question("web._http._tcp.local.", dnsmessage.TypeSRV, in)},
			answers: []string{srv}, additionals: []string{a, aaaa}},
		{name: "everything of an instance", questions: []dnsmessage.Question{question("Web._http._tcp.local.", dnsmessage.TypeALL, dnsmessage.ClassANY)},
			answers: []string{srv, txt}, additionals: []string{a, aaaa}},
		{name: "an address", questions: []dnsmessage.Question{question("box.local.", dnsmessage.TypeAAAA, in)},
			answers: []string{aaaa}},
		{name: "two questions, each record once", questions: []dnsmessage.Question{question("box.local.", dnsmessage.TypeA, in), question("box.local.", dnsmessage.TypeALL, in), question("Web._http._tcp.local.", dnsmessage.TypeTXT, in)},
			answers: []string{txt, a, aaaa}},
		{name: "what is known is not answered", questions: []dnsmessage.Question{question("_http._tcp.local.", dnsmessage.TypePTR, in)},
			known: []dnsmessage.Resource{ptrRecord}},
		{name: "unless it is about to be forgotten", questions: []dnsmessage.Question{question("_http._tcp.local.", dnsmessage.TypePTR, in)},
			known: []dnsmessage.Resource{old}, answers: []string{ptr}, additionals: []string{srv, txt, a, aaaa}},
		{name: "another type", questions: []dnsmessage.Question{question("_ipp._tcp.local.", dnsmessage.TypePTR, in)}},
		{name: "another class", questions: []dnsmessage.Question{question("box.local.", dnsmessage.TypeA, dnsmessage.ClassCHAOS)}},
		{name: "another host", questions: []dnsmessage.Question{question("fox.local.", dnsmessage.TypeA, in)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, ok := web(t).answer(&dnsmessage.Message{Questions: test.questions, Answers: test.known}, addrs)
			require.Equal(t, len(test.answers) > 0, ok)
			require.Equal(t, test.answers, lines(m.Answers))
			require.Equal(t, test.additionals, lines(m.Additionals))
		})
	}
}

func lines(records []dnsmessage.Resource) (all []string) {
	for _, r := range records {
		all = append(all, show(r))
	}
	return all
}

func TestOwnRecordsReplaceWhatWasKnown(t *testing.T) {
	for _, r := range web(t).records(addrs) {
		require.Equal(t, r.Header.Type != dnsmessage.TypePTR, r.Header.Class&topBit != 0, "%v", r.Header)
	}
}

func TestGoodbyeIsOfTheServiceAlone(t *testing.T) {
	goodbye := web(t).goodbye()
	require.Len(t, goodbye, 3)
	for _, r := range goodbye {
		require.Zero(t, r.Header.TTL)
		require.Contains(t, show(r), "Web._http._tcp.local.")
	}
}

func TestBrowserPutsTogetherWhatComesApart(t *testing.T) {
	var out strings.Builder
	b := newBrowser(dnsmessage.MustNewName("_http._tcp.local."), &out)
	records := web(t).records(addrs)
	hear := func(r ...dnsmessage.Resource) { b.take(response(r)) }

	hear(records[2:]...)
	require.Empty(t, b.missing(true), "nobody has named that instance")
	hear(records[1])
	ask := b.missing(false)
	require.Len(t, ask, 2)
	require.Equal(t, "Web._http._tcp.local.", ask[0].Name.String())
	require.Empty(t, b.missing(false), "asked already")
	require.Len(t, b.missing(true), 2)
	hear(records[2])
	hear(records[3])
	ask = b.missing(false)
	require.Len(t, ask, 2)
	require.Equal(t, "box.local.", ask[0].Name.String())
	require.Empty(t, out.String())

	hear(records[4])
	first := "+ Web._http._tcp.local. at box.local.:80 [192.0.2.1] [\"path=/\"]\n"
	require.Equal(t, first, out.String())
	hear(records...)
	second := "+ Web._http._tcp.local. at box.local.:80 [192.0.2.1 2001:db8::1] [\"path=/\"]\n"
	hear(records...)
	require.Equal(t, first+second, out.String(), "what is the same is not shown again")
	require.Equal(t, 1, b.found)
	hear(web(t).goodbye()...)
	require.Equal(t, first+second+"- Web._http._tcp.local.\n", out.String())
}

func TestNothingFromTheNetworkControlsTheTerminal(t *testing.T) {
	evil := dnsmessage.MustNewName("\x1b[2J\n\xff._http._tcp.local.")
	line := show(dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: evil, Type: dnsmessage.TypePTR}, Body: &dnsmessage.PTRResource{PTR: evil}})
	require.Equal(t, "?[2J?\uFFFD._http._tcp.local. PTR ?[2J?\uFFFD._http._tcp.local.", line)
}

func FuzzMessages(f *testing.F) {
	v := web(f)
	for _, m := range []*dnsmessage.Message{
		response(v.records(addrs)), response(v.goodbye()),
		{Questions: questions(v.kind, dnsmessage.TypePTR)}, {Questions: questions(v.instance, dnsmessage.TypeALL)},
	} {
		b, err := m.Pack()
		require.NoError(f, err)
		f.Add(b)
	}
	b := newBrowser(v.kind, io.Discard)
	f.Fuzz(func(t *testing.T, data []byte) {
		var m dnsmessage.Message
		if m.Unpack(data) != nil {
			return
		}
		b.take(&m)
		_, err := (&dnsmessage.Message{Questions: b.missing(true)}).Pack()
		require.NoError(t, err)
		require.LessOrEqual(t, len(b.instances), mostInstances)
		if answer, ok := v.answer(&m, addrs); ok {
			forOrdinary(answer, &m)
			_, err := answer.Pack()
			require.NoError(t, err)
		}
	})
}
