package docs_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// measured returns the figure for 64 bytes of a row of performance.md. Both the row of rates and
// the row of CPU times have the name; the part with a core for each process is the first.
func measured(t *testing.T, section, name string) (rate, cpu string) {
	t.Helper()
	page, err := os.ReadFile("performance.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(page), "\n### "+section)
	require.True(t, ok, section)
	part, _, _ := strings.Cut(rest, "\n### ")
	row := regexp.MustCompile(`(?m)^\| .*\(` + regexp.QuoteMeta(name) + `\)\S* \| (\S+) `)
	figures := row.FindAllStringSubmatch(part, -1)
	require.Len(t, figures, 2, "%s: %s", section, name)
	return figures[0][1], figures[1][1]
}

// The figures of README.md are those of performance.md.
func TestREADMEFiguresAreMeasured(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	for _, r := range []struct {
		label, section string
		columns        []string
	}{
		{"receiving, plain sender", "Receiving, from a plain sender", []string{"udp", "net", "c-recvmmsg"}},
		{"`SendTo`", "Sending", []string{"udp-sendto", "net", "c-sendto"}},
		{"receiving¹", "Receiving, from a sender with UDP_SEGMENT", []string{"udp", "net", "c-gro"}},
		{"echo through a Queue¹", "Echo: 1,024 datagrams outstanding", []string{"udp-queue", "net", "c-gro"}},
	} {
		want := "| " + r.label + " |"
		for _, name := range r.columns {
			rate, cpu := measured(t, r.section, name)
			want += " " + rate + ", " + cpu + " ns |"
		}
		require.Contains(t, string(readme), want+"\n")
	}
}

// So are those of choosing.md, without decimals.
func TestCostsOfChoosingAreMeasured(t *testing.T) {
	guide, err := os.ReadFile("choosing.md")
	require.NoError(t, err)
	for name, format := range map[string]string{
		"udp": "a Handler | %s ns |", "udp-queue": "`Queue` | %s ns |", "net": "loop took %s ns there",
	} {
		_, cpu := measured(t, "Receiving, from a sender with UDP_SEGMENT", name)
		whole, _, _ := strings.Cut(cpu, ".")
		require.Contains(t, string(guide), strings.Replace(format, "%s", whole, 1))
	}
}
