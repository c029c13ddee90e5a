package metrics

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every counter of the packages is in a metric, except for sums of others, so that a new one
// is not forgotten. Every metric has a counter.
func TestEveryCounterHasAMetric(t *testing.T) {
	sums := map[string]bool{"socket/send_errors": true}
	used := map[*Metric]bool{socketInfo: true}
	for _, k := range kinds {
		existing := map[string]bool{}
		for name := range k.counters {
			existing[name] = true
			at, ok := counters[k.name][name]
			assert.NotEqual(t, sums[k.name+"/"+name], ok, "%s of kind %s", name, k.name)
			used[at.metric] = true
		}
		for name := range counters[k.name] {
			assert.Contains(t, existing, name, "there is no such counter of kind %s", k.name)
		}
	}
	for m := range All() {
		assert.True(t, used[m], "%s of kind %s", m.Name, m.Kind)
	}
}

func TestMetricsAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for m := range All() {
		require.False(t, seen[m.Kind+" "+m.Name])
		seen[m.Kind+" "+m.Name] = true
		assert.Regexp(t, regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`), m.Name)
		assert.True(t, strings.HasSuffix(m.Help, ".") || m.Name == "info", m.Help)
		assert.Equal(t, m.Kind, m.Labels[0])
		if m != socketInfo {
			assert.True(t, strings.HasSuffix(m.Unit(), "s"), "%s has no unit", m.Name)
		}
	}
}
