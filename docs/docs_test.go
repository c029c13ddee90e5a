// Package docs_test keeps the guides and the README in step with the code.
package docs_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// guides are the documents whose snippets are in this directory's tests.
var guides = []string{
	"../README.md", "from-net.md", "choosing.md", "observability.md", "tuning.md", "security.md", "recipes.md",
	"sessions.md", "exchange.md", "limit.md", "groups.md", "ecosystem.md",
}

var snippet = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")

// flat removes the indentation, which differs between a document and a function.
func flat(text string) string {
	return regexp.MustCompile(`(?m)^[ \t]+`).ReplaceAllString(text, "")
}

// Each snippet is a part of a test file here, so it compiles. Nothing receives from a channel and
// takes its end for an empty datagram.
func TestGuidesShowWhatCompiles(t *testing.T) {
	compiled := ""
	for _, file := range []string{"readme_test.go", "guides_test.go"} {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		compiled += flat(string(source))
	}
	for _, guide := range guides {
		text, err := os.ReadFile(guide)
		require.NoError(t, err)
		snippets := snippet.FindAllStringSubmatch(string(text), -1)
		require.Len(t, snippets, strings.Count(string(text), "```go"), guide)
		require.NotEmpty(t, snippets, guide)
		for _, s := range snippets {
			require.True(t, strings.Contains(compiled, flat(s[1])), "%s: no function has this snippet:\n%s", guide, s[1])
		}
	}
}

func TestNoDocumentTakesAClosedChannelForADatagram(t *testing.T) {
	files, err := filepath.Glob("*.md")
	require.NoError(t, err)
	examples, err := filepath.Glob("../example*_test.go")
	require.NoError(t, err)
	programs, err := filepath.Glob("../examples/*/main.go")
	require.NoError(t, err)
	require.NotEmpty(t, examples)
	require.NotEmpty(t, programs)
	for _, file := range slices.Concat(files, examples, programs, []string{"../README.md", "../doc.go"}) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		careless := regexp.MustCompile(`(?m)^.*(^\s*(case )?\w+ :?= |\()<-\w+\.(Datagrams|Refusals)\(\).*$`)
		require.Empty(t, careless.FindAllString(string(text), -1), "%s: use Receive, All, range, or the second result", file)
	}
}

// Every counter is explained on the page, and none that does not exist.
func TestObservabilityHasEveryCounter(t *testing.T) {
	page, err := os.ReadFile("observability.md")
	require.NoError(t, err)
	want := map[string]bool{}
	for prefix, counters := range map[string]any{
		"": udp.Stats{}, "Dropped.": udp.Drops{}, "SendFailed.": udp.SendFailures{},
		"QueueStats.": udp.QueueStats{}, "WorkersStats.": udp.WorkersStats{},
	} {
		for f := range reflect.TypeOf(counters).Fields() {
			if f.Type.Kind() != reflect.Struct {
				want[prefix+f.Name] = true
			}
		}
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Za-z.]+)` \\|.*\\|.*\\|$").FindAllStringSubmatch(string(page), -1) {
		require.True(t, want[row[1]], "%s is no counter, or is there twice", row[1])
		delete(want, row[1])
	}
	require.Empty(t, want, "counters that the page does not explain")
}
