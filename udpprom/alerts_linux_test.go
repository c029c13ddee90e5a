package udpprom

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const patience = time.Minute

// server is a Prometheus that scrapes one process.
type server struct{ api string }

// get decodes the data of a response into v.
func (s server) get(t *testing.T, path string, v any) {
	t.Helper()
	response, err := http.Get(s.api + path)
	require.NoError(t, err)
	defer response.Body.Close()
	var body struct {
		Status, Error string
		Data          json.RawMessage
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&body))
	require.Equal(t, "success", body.Status, "%s: %s", path, body.Error)
	require.NoError(t, json.Unmarshal(body.Data, v))
}

// query returns how many series an expression has.
func (s server) query(t *testing.T, expr string) int {
	t.Helper()
	var v struct{ Result []json.RawMessage }
	s.get(t, "/query?query="+url.QueryEscape(expr), &v)
	return len(v.Result)
}

// firing returns the names of the alerts that fire.
func (s server) firing(t *testing.T) (names []string) {
	t.Helper()
	var v struct {
		Alerts []struct {
			State       string
			Labels      map[string]string
			Annotations map[string]string
		}
	}
	s.get(t, "/alerts", &v)
	for _, a := range v.Alerts {
		if a.State == "firing" {
			names = append(names, a.Labels["alertname"])
			assert.NotContains(t, a.Annotations["summary"]+a.Annotations["description"], "error expanding")
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// evaluated returns when all rules were last evaluated.
func (s server) evaluated(t *testing.T) (first time.Time) {
	t.Helper()
	var v struct {
		Groups []struct {
			Rules []struct{ LastEvaluation time.Time }
		}
	}
	s.get(t, "/rules", &v)
	require.NotEmpty(t, v.Groups)
	first = v.Groups[0].Rules[0].LastEvaluation
	for _, r := range v.Groups[0].Rules {
		if r.LastEvaluation.Before(first) {
			first = r.LastEvaluation
		}
	}
	return first
}

// line returns what a pattern has in its parentheses in the first line that it matches. The
// other lines are read until the process ends.
func line(t *testing.T, r *bufio.Scanner, pattern string) string {
	t.Helper()
	var read []string
	for r.Scan() {
		if found := regexp.MustCompile(pattern).FindStringSubmatch(r.Text()); found != nil {
			go func() {
				for r.Scan() {
				}
			}()
			return found[1]
		}
		read = append(read, r.Text())
	}
	require.Fail(t, "no line "+pattern, "%s", strings.Join(read, "\n"))
	return ""
}

// start starts a process that ends with the test, and returns what it writes.
func start(t *testing.T, cmd *exec.Cmd) *bufio.Scanner {
	t.Helper()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = cmd.Stdout
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		if err := cmd.Process.Signal(os.Interrupt); !errors.Is(err, os.ErrProcessDone) {
			assert.NoError(t, err)
		}
		_ = cmd.Wait() // the reader of its output ends before
	})
	return bufio.NewScanner(out)
}

// Each alert fires in a real Prometheus that scrapes a process with that trouble, and none
// before. Each expression of the dashboard finds series.
func TestAlertsFire(t *testing.T) {
	need(t, "prometheus")
	service := exec.Command(os.Args[0])
	service.Env = append(os.Environ(), asService+"=1")
	begin, err := service.StdinPipe()
	require.NoError(t, err)
	target := line(t, start(t, service), `^metrics on (.*)$`)

	dir := t.TempDir()
	rules, err := filepath.Abs("alerts.yml")
	require.NoError(t, err)
	config := filepath.Join(dir, "prometheus.yml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
global: {scrape_interval: 500ms, evaluation_interval: 100ms}
rule_files: [%q]
scrape_configs: [{job_name: service, static_configs: [{targets: [%q]}]}]
`, rules, target), 0o600))
	address := line(t, start(t, exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address=127.0.0.1:0")), `msg="Listening on" address=(\S+)`)
	s := server{"http://" + address + "/api/v1"}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)

	until := func(what string, ok func() bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		poll := time.NewTicker(50 * time.Millisecond)
		defer poll.Stop()
		for !ok() {
			select {
			case <-poll.C:
			case <-ctx.Done():
				require.Fail(t, what)
			}
		}
	}
	until("Prometheus is ready", func() bool {
		response, err := http.Get("http://" + address + "/-/ready")
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode == http.StatusOK
	})
	until("two scrapes", func() bool { return s.query(t, "count_over_time(udp_socket_panics_total[5m]) > 1") > 0 })
	scraped := time.Now()
	until("an evaluation", func() bool { return s.evaluated(t).After(scraped) })
	require.Empty(t, s.firing(t))
	_, err = begin.Write([]byte("\n"))
	require.NoError(t, err)

	text, err := os.ReadFile("alerts.yml")
	require.NoError(t, err)
	var want []string
	for _, m := range regexp.MustCompile(`(?m)- alert: (\w+)$`).FindAllStringSubmatch(string(text), -1) {
		want = append(want, m[1])
	}
	slices.Sort(want)
	require.NotEmpty(t, want)
	until("all alerts fire", func() bool { return slices.Equal(want, s.firing(t)) })

	panels, _ := dashboard(t)
	variables := strings.NewReplacer("$job", ".*", "$instance", ".*", "$socket", ".*", "$__rate_interval", "5m")
	for _, expr := range panels {
		until("series of "+expr, func() bool { return s.query(t, variables.Replace(expr)) > 0 })
	}
	require.NoError(t, begin.Close())
}
