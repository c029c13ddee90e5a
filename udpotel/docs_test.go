package udpotel

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/metrics"
)

var update = flag.Bool("update", false, "write the table of docs/metrics.md")

// The table of all metrics in the documentation is up to date. To write it:
//
//	go test -C udpotel -run TestDocumentation -args -update
func TestDocumentation(t *testing.T) {
	const page, from = "../docs/metrics.md", "<!-- TestDocumentation of udpotel writes what follows. -->\n"
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	before, after, ok := strings.Cut(string(text), from)
	require.True(t, ok)
	var table strings.Builder
	kind := ""
	for m := range metrics.All() {
		if m.Kind != kind {
			kind = m.Kind
			fmt.Fprintf(&table, "\n## Kind %s\n\n| Prometheus | OpenTelemetry | Type | Meaning |\n| --- | --- | --- | --- |\n", kind)
		}
		prometheus := "udp_" + m.Kind + "_" + m.Name
		if m.Type == metrics.Counter {
			prometheus += "_total"
		}
		name, direction := conventional(m)
		cell := "`" + name + "`"
		if direction.Valid() {
			cell += ", " + direction.Value.AsString()
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", prometheus, cell, [...]string{"counter", "gauge", "maximum"}[m.Type], m.Help)
	}
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(before+from+table.String()), 0o644))
		return
	}
	require.Equal(t, table.String(), after)
}
