package main

import (
	"bytes"
	"fmt"
	"os"
)

const (
	width, height = 760, 420
	left, top     = 60, 40
	plotW, plotH  = width - left - 20, height - top - 60
)

// writePlot draws the share of nodes with the news over time.
func writePlot(path string, of int, spreads ...*spread) error {
	var curves [][][2]float64
	longest := 1.0
	for _, s := range spreads {
		c := s.curve(of)
		curves = append(curves, c)
		if len(c) > 0 {
			longest = max(longest, c[len(c)-1][0])
		}
	}
	x := func(seconds float64) float64 { return left + plotW*seconds/longest }
	y := func(share float64) float64 { return top + plotH*(1-share) }

	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="13">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	fmt.Fprintf(&b, `<text x="%d" y="24" font-size="15">How news spreads among %d nodes</text>`+"\n", left, of+1)
	for i := 0; i <= 4; i++ {
		share := float64(i) / 4
		fmt.Fprintf(&b, `<path d="M%d %.1fh%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%d%%</text>`+"\n",
			left, y(share), plotW, left-6, y(share)+4, 25*i)
	}
	for i := 0; i <= 5; i++ {
		at := longest * float64(i) / 5
		fmt.Fprintf(&b, `<path d="M%.1f %dv%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle">%.1f s</text>`+"\n",
			x(at), top, plotH, x(at), top+plotH+18, at)
	}
	for i, s := range spreads {
		color := []string{"#c0392b", "#2471a3"}[i%2]
		fmt.Fprintf(&b, `<path fill="none" stroke="%s" stroke-width="2" d="M%.1f %.1f`, color, x(0), y(0))
		lastX, lastY := -1.0, -1.0
		for k, p := range curves[i] {
			// Points closer than half a pixel are not visible.
			if px, py := x(p[0]), y(p[1]); px-lastX > 0.5 || lastY-py > 0.5 || k == len(curves[i])-1 {
				fmt.Fprintf(&b, "L%.1f %.1f", px, py)
				lastX, lastY = px, py
			}
		}
		fmt.Fprintf(&b, `"/><text x="%d" y="%d" fill="%s">%s</text>`+"\n", left+plotW-180, top+plotH-40+20*i, color, s.name)
	}
	fmt.Fprintf(&b, "</svg>\n")
	return os.WriteFile(path, b.Bytes(), 0o644)
}
