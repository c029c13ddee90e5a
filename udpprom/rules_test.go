package udpprom

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/metrics"
)

// need skips the test if a program is not installed.
func need(t *testing.T, program string) {
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(err)
	}
}

// dashboard returns the expressions of the dashboard's panels and of its variables.
func dashboard(t *testing.T) (panels, variables []string) {
	var d struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Definition string }
		}
	}
	text, err := os.ReadFile("dashboard.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &d))
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			panels = append(panels, target.Expr)
		}
	}
	for _, v := range d.Templating.List {
		if v.Definition != "" {
			variables = append(variables, v.Definition)
		}
	}
	require.NotEmpty(t, panels)
	require.NotEmpty(t, variables)
	return panels, variables
}

// Every metric of the rules and the dashboard exists.
func TestRulesAndDashboardNameMetrics(t *testing.T) {
	existing := map[string]bool{}
	for m := range metrics.All() {
		name := regexp.MustCompile(`fqName: "(.*?)"`).FindStringSubmatch(descs[m].String())
		existing[name[1]] = true
	}
	rules, err := os.ReadFile("alerts.yml")
	require.NoError(t, err)
	panels, variables := dashboard(t)
	for _, text := range slices.Concat(panels, variables, []string{string(rules)}) {
		names := regexp.MustCompile(`\budp_\w+`).FindAllString(text, -1)
		require.NotEmpty(t, names, text)
		for _, name := range names {
			assert.True(t, existing[name], "%s does not exist", name)
		}
	}
}

func TestRules(t *testing.T) {
	need(t, "promtool")
	for _, args := range [][]string{
		{"check", "rules", "--lint-fatal", "alerts.yml"}, {"test", "rules", "testdata/alerts_test.yml"},
	} {
		out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput()
		require.NoError(t, err, "promtool %v: %s", args, out)
	}
}
