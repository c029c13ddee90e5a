package main

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// The plot's measures, in pixels.
const (
	plotWidth  = 1040
	margin     = 28
	gutter     = 36
	panelWidth = (plotWidth - 2*margin - gutter) / 2
	labelWidth = 178
	barHeight  = 17
	barStep    = 25
	headHeight = 92
	valueWidth = 92
)

// The colours: package udp's, C's and the others', which differ in grey too.
const (
	ink, faint       = "#1f2933", "#6b7780"
	colourOurs       = "#0f7b8a"
	colourC          = "#46525c"
	colourOther      = "#c3ccd3"
	ground, panelSet = "#ffffff", "#f6f8f9"
)

// A panel is one bar chart.
type panel struct {
	title, unit string
	cases       []Case
}

func (r *record) panels() []panel {
	pick := func(kind, source string, size int, who ...string) (cs []Case) {
		for _, name := range who {
			c := Case{Kind: kind, Source: source, Size: size, Cores: 1, Entry: name}
			if r.values(c, rate).median() > 0 {
				cs = append(cs, c)
			}
		}
		return cs
	}
	var ps []panel
	add := func(title, unit string, cs []Case) {
		if len(cs) > 0 {
			ps = append(ps, panel{title, unit, cs})
		}
	}
	for _, size := range []int{64, 1200} {
		add(fmt.Sprintf("Receive, %d bytes", size), "million datagrams per second",
			pick(receive, "gso", size, "udp", "udp-queue", "c-gro", "c-recvmmsg", "wireguard", "net", "net-chan", "xnet", "libuv", "twisted", "asyncio"))
	}
	for _, size := range []int{64, 1200} {
		add(fmt.Sprintf("Echo, %d bytes, 1,024 outstanding", size), "million replies per second",
			pick(echo, "", size, "udp", "udp-queue", "c-gro", "c-recvmmsg", "wireguard", "net", "xnet", "libuv", "twisted", "asyncio"))
	}
	for _, size := range []int{64, 1200} {
		add(fmt.Sprintf("Send, %d bytes", size), "million datagrams per second",
			pick(send, "", size, "udp-batch", "udp-sendto", "c-gso", "c-sendmmsg", "wireguard", "net", "xnet"))
	}
	return ps
}

// plot draws the panels, two side by side, as SVG.
func (r *record) plot() string {
	ps := r.panels()
	var body strings.Builder
	y := headHeight
	for i := 0; i < len(ps); i += 2 {
		pair := ps[i:min(i+2, len(ps))]
		most := 0
		for _, p := range pair {
			most = max(most, len(p.cases))
		}
		height := 74 + most*barStep
		for j, p := range pair {
			r.drawPanel(&body, p, margin+j*(panelWidth+gutter), y, height)
		}
		y += height + gutter - 10
	}
	height := y + 14
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="t">`+"\n",
		plotWidth, height, plotWidth, height)
	b.WriteString(`<title id="t">Datagrams per second of package udp beside C, Go packages, libuv and Python</title>
<style>
text { font-family: system-ui, -apple-system, "Segoe UI", "Helvetica Neue", "DejaVu Sans", Arial, sans-serif; }
.n { font-variant-numeric: tabular-nums; }
</style>
`)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" rx="10" fill="%s"/>`+"\n", plotWidth, height, ground)
	text(&b, margin, 38, 21, ink, "600", "start", "Datagrams per second on one core")
	text(&b, margin, 60, 12.5, faint, "400", "start", fmt.Sprintf(
		"%s, %s, loopback; sender and receiver on a core each; medians of %d rounds, whiskers least to most",
		r.Machine.CPU, r.Machine.Kernel, r.Runs))
	x := plotWidth - margin - 262
	for _, k := range []struct{ name, colour string }{{"package udp", colourOurs}, {"C", colourC}, {"others", colourOther}} {
		fmt.Fprintf(&b, `<rect x="%d" y="26" width="13" height="13" rx="2.5" fill="%s"/>`+"\n", x, k.colour)
		text(&b, float64(x+19), 37, 13, ink, "400", "start", k.name)
		x += 38 + 8*len(k.name)
	}
	b.WriteString(body.String())
	b.WriteString("</svg>\n")
	return b.String()
}

func (r *record) drawPanel(b *strings.Builder, p panel, x, y, height int) {
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" rx="8" fill="%s"/>`+"\n", x, y, panelWidth, height, panelSet)
	text(b, float64(x+16), float64(y+28), 15, ink, "600", "start", p.title)
	text(b, float64(x+16), float64(y+46), 11.5, faint, "400", "start", p.unit)
	top := 0.0
	for _, c := range p.cases {
		_, high := r.values(c, rate).span()
		top = max(top, high)
	}
	slices.SortStableFunc(p.cases, func(a, c Case) int {
		if r.values(a, rate).median() > r.values(c, rate).median() {
			return -1
		}
		return 1
	})
	scale := float64(panelWidth-labelWidth-valueWidth) / top
	left := float64(x + labelWidth)
	for i, c := range p.cases {
		e, v := c.entry(), r.values(c, rate).median()
		at := float64(y + 62 + i*barStep)
		colour, weight := colourOther, "400"
		switch {
		case e.ours():
			colour, weight = colourOurs, "600"
		case strings.HasPrefix(e.Name, "c-"):
			colour = colourC
		}
		text(b, left-8, at+13, 12, ink, weight, "end", plotLabel(e))
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%d" rx="2.5" fill="%s"/>`+"\n", left, at, max(1.5, v*scale), barHeight, colour)
		low, high := r.values(c, rate).span()
		if (high-low)*scale > 3 {
			mid := at + barHeight/2.0
			fmt.Fprintf(b, `<path d="M%.1f %.1fH%.1fM%.1f %.1fv6M%.1f %.1fv6" stroke="%s" stroke-opacity=".55" fill="none"/>`+"\n",
				left+low*scale, mid, left+high*scale, left+low*scale, mid-3, left+high*scale, mid-3, ink)
		}
		value := digits(v / 1e6)
		if v < 99.5e3 {
			value = fmt.Sprintf("%.3f", v/1e6)
		}
		fmt.Fprintf(b, `<text class="n" x="%.1f" y="%.1f" font-size="12" fill="%s" font-weight="%s">%s`, left+max(v, high)*scale+7, at+13, ink, weight, value)
		if ratio := r.ratios(c, c.to("net"), rate).median(); ratio > 0 && c.Entry != "net" {
			fmt.Fprintf(b, `<tspan dx="7" font-size="11" font-weight="400" fill="%s">%s×</tspan>`, faint, digits(ratio))
		}
		b.WriteString("</text>\n")
	}
}

// plotLabel is short enough to stand left of a bar.
func plotLabel(e entry) string {
	short := map[string]string{
		"net ReadFromUDPAddrPort loop": "net.UDPConn", "net ReadFromUDPAddrPort": "net.UDPConn",
		"net WriteToUDPAddrPort": "net.UDPConn", "net ReadFrom, make, chan": "net, make, chan",
		"C recvmmsg, sendmmsg, UDP_GRO, UDP_SEGMENT": "C mmsg, GRO, GSO", "C recvmmsg, sendmmsg": "C mmsg",
		"C recvmmsg and UDP_GRO": "C recvmmsg, GRO", "C send and UDP_SEGMENT, connected, one buffer": "C send, GSO",
		"libuv with recvmmsg": "libuv", "x/net ReadBatch, WriteBatch": "x/net batch", "udp, Queue and Release": "udp, Queue",
		"udp, Handler and Reply": "udp, Handler", "udp, Queue and Reply": "udp, Queue",
	}
	if s := short[e.Label]; s != "" {
		return s
	}
	return e.Label
}

func text(b *strings.Builder, x, y, size float64, fill, weight, anchor, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" font-size="%g" fill="%s" font-weight="%s" text-anchor="%s">%s</text>`+"\n",
		x, y, size, fill, weight, anchor, html.EscapeString(s))
}
