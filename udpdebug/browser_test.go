package udpdebug_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udpdebug"
)

// A browser runs the script under the page's own policy and brings the numbers of events into
// the page. The stream ends after some events, and then the browser prints the page: values that
// were not on it when it was loaded.
func TestBrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip(err)
	}
	q := udp.NewQueue(1000, udp.DropNewest)
	c, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", q)
	require.NoError(t, err)
	defer func() { _ = c.Close(); <-c.Done() }()
	page := udpdebug.New(udpdebug.Config{Interval: 100 * time.Millisecond})
	page.AddSocket("echo", c)
	page.AddQueue("echo", q)
	var loads, streams atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			loads.Add(1)
		case "/events":
			if streams.Add(1) > 1 {
				w.WriteHeader(http.StatusNoContent) // do not connect again
				return
			}
			var cancel context.CancelFunc
			ctx := r.Context()
			ctx, cancel = context.WithTimeout(ctx, time.Second)
			defer cancel()
			for range 7 {
				if err := c.SendTo([]byte("12345"), c.LocalAddrPort()); err != nil {
					t.Error(err)
				}
			}
			r = r.WithContext(ctx)
		}
		page.ServeHTTP(w, r)
	}))
	defer func() { page.Close(); server.Close() }()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--user-data-dir="+t.TempDir(), "--virtual-time-budget=5000", "--dump-dom", server.URL+"/").Output()
	require.NoError(t, err)
	dom := string(out)
	require.EqualValues(t, 1, loads.Load(), "the page was not loaded again: %d streams", streams.Load())
	row := func(section, name string) string {
		_, after, _ := strings.Cut(dom, `<section data-kind="`+section+`"`)
		m := regexp.MustCompile(`<tr data-counter="` + name + `".*?</tr>`).FindString(after)
		require.NotEmpty(t, m, dom)
		return m
	}
	received := row("socket", "received")
	require.Contains(t, received, `<td class="value">7</td>`)
	require.Regexp(t, `<td class="rate">[0-9.]+</td>`, received)
	require.Regexp(t, `<svg.*role="img".*aria-label="received: .*<polyline points="[0-9., ]+"`, received)
	require.Contains(t, row("queue", "waiting"), `<td class="value">7</td>`)
	require.Regexp(t, `<button type="button" id="pause" aria-pressed="false">`, dom, "it is not hidden any more")
	for range 7 {
		(<-q.Datagrams()).Release()
	}
}
