// Package browser opens the page of udpdebug in a real browser. It is a module of its own because
// of its dependencies.
package browser_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/pcap"
	"github.com/udpkit/udp/udpdebug"
)

var screenshot = flag.String("screenshot", "", "write a picture of the page to this file (PNG)")

const patience = 2 * time.Minute

// start starts the browser and returns a context for its first tab.
func start(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err == nil {
		_, err = exec.LookPath("tshark")
	}
	if err != nil {
		t.Skip(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, // it has none as root
		chromedp.WSURLReadTimeout(patience), chromedp.WindowSize(900, 1420))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithErrorf(t.Logf))
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx)) // starts it: the context of that must have no end
	ctx, cancel = context.WithTimeout(ctx, patience)
	t.Cleanup(cancel)
	return ctx
}

// server is a DNS-like server with everything that the page shows.
type server struct {
	conn  *udp.MulticastConn
	queue *udp.Queue
	page  *udpdebug.Handler
	token string
	url   string
}

func serve(t *testing.T) *server {
	t.Helper()
	s := &server{queue: udp.NewQueue(4, udp.DropNewest), token: rand.Text()}
	capture, peers := pcap.New(pcap.Config{}), udpdebug.NewPeers(0)
	var err error
	s.conn, err = udp.Config{Trace: udp.JoinTraces(capture.Trace(), peers.Trace())}.
		ListenMulticast(t.Context(), "udp4", "127.0.0.1:0", s.queue)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.conn.Close(); <-s.conn.Done() })
	s.page = udpdebug.New(udpdebug.Config{Interval: 200 * time.Millisecond, Token: s.token, Capture: capture})
	s.page.AddSocket("dns", s.conn)
	s.page.AddQueue("dns", s.queue)
	s.page.AddPeers("dns", peers)
	web := httptest.NewServer(s.page)
	t.Cleanup(func() { s.page.Close(); web.Close() })
	s.url = web.URL + "/"
	return s
}

// send sends datagrams to the server.
func (s *server) send(t *testing.T, c *udp.Conn, n int) {
	t.Helper()
	before := s.conn.Stats().Received
	for range n {
		require.NoError(t, c.SendTo([]byte("question"), s.conn.LocalAddrPort()))
	}
	require.Eventually(t, func() bool { return s.conn.Stats().Received >= before+uint64(n) }, patience, time.Millisecond)
}

// cell is the text of a counter's column, in a section.
func cell(kind, counter, column string) string {
	return `document.querySelector('section[data-kind="` + kind + `"] tr[data-counter="` + counter + `"] .` + column + `').textContent`
}

// until waits until a JavaScript expression is true, also on the page that comes next.
func until(expression string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		for {
			is, err := chromedp.Evaluate[bool](expression)(ctx, tab)
			if is {
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s: %w: %w", expression, ctx.Err(), cmp.Or(err, errors.New("false")))
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
}

func evaluate[T any](t *testing.T, ctx context.Context, expression string, options ...chromedp.EvaluateOption) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, options...))
	require.NoError(t, err)
	return v
}

func TestPage(t *testing.T) {
	ctx := start(t)
	s := serve(t)
	client, err := udp.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	require.NoError(t, err)
	defer func() { _ = client.Close(); <-client.Done() }()

	var mu sync.Mutex
	var problems, elsewhere []string
	require.NoError(t, chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			problems = append(problems, fmt.Sprint(e.ExceptionDetails))
		case *runtime.EventConsoleAPICalled:
			problems = append(problems, "console."+string(e.Type))
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(e.Request.URL, s.url) {
				elsewhere = append(elsewhere, e.Request.URL)
			}
		}
	}))
	downloads := t.TempDir()
	downloaded := make(chan string, 10)
	require.NoError(t, chromedp.ListenBrowser(ctx, func(event any) {
		if e, ok := event.(*browser.EventDownloadProgress); ok && e.State == browser.DownloadProgressStateCompleted {
			downloaded <- e.GUID
		}
	}))
	_, err = chromedp.CallBrowser(ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllowAndName, DownloadPath: downloads, EventsEnabled: new(true),
	})
	require.NoError(t, err)
	_, err = chromedp.Call(ctx, network.Enable, network.EnableParams{})
	require.NoError(t, err)
	run := func(actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		require.NoError(t, chromedp.Do(ctx, actions...))
	}

	run(chromedp.Navigate(s.url), chromedp.WaitVisible(chromedp.CSS("#pause")))

	// The keyboard is enough: Tab comes to Pause first, and Space presses it.
	run(chromedp.KeyEvent(kb.Tab), until(`document.activeElement.id === "pause"`))
	run(chromedp.KeyEvent(" "), until(`document.getElementById("pause").getAttribute("aria-pressed") === "true"`),
		chromedp.KeyEvent(" "), until(`document.getElementById("pause").getAttribute("aria-pressed") === "false"`))

	// Values change without a reload, those of peers and memberships too.
	evaluate[int](t, ctx, "window.loaded = 1")
	run(until(cell("socket", "received", "value") + ` === "0"`))
	s.send(t, client, 7)
	run(until(cell("socket", "received", "value")+` === "7"`), until(cell("socket", "dropped_queue", "value")+` === "3"`),
		until(cell("queue", "waiting", "value")+` === "4"`), until(cell("socket", "received", "rate")+` !== ""`),
		until(`document.querySelector('[data-counter="received"] svg[role="img"] polyline').getAttribute("points").includes(" ")`),
		until(`document.querySelector('[data-table="peers"] td').textContent === "127.0.0.1"`),
		until(`document.querySelector('[data-table="peers"] tr:nth-child(1) td:nth-child(6)').textContent === "3"`))
	require.Equal(t, 1, evaluate[int](t, ctx, "window.loaded"), "it is still the same page")

	// Counters that are 0 are hidden, until they are wanted.
	shown := `getComputedStyle(document.querySelector('tr[data-counter="panics"]')).display !== "none"`
	require.False(t, evaluate[bool](t, ctx, shown))
	run(chromedp.Click(chromedp.CSS("#zeros")), until(shown), chromedp.Click(chromedp.CSS("#zeros")))

	require.NoError(t, s.conn.Join(netip.MustParseAddr("239.1.2.3"), &net.Interface{Name: "lo"}))
	run(until(`document.querySelector('[data-table="memberships"]').textContent.includes("239.1.2.3")`))
	if *screenshot != "" {
		s.picture(t, ctx, client)
	}

	// Dark mode is another background, chosen by the system.
	ink := func(scheme string) string {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		require.NoError(t, err)
		return evaluate[string](t, ctx, "getComputedStyle(document.body).color")
	}
	dark, light := ink("dark"), ink("light")
	require.NotEqual(t, light, dark)

	// A capture is started, stopped and downloaded, with the token only.
	press := func(token, do, result string) {
		t.Helper()
		run(chromedp.SendKeys(chromedp.CSS("#capture-token"), token), chromedp.Click(chromedp.CSS(`button[value="`+do+`"]`)),
			until(`(document.getElementById("result") || {textContent: ""}).textContent === "`+result+`"`))
	}
	press("wrong", "start", "The token is wrong.")
	run(chromedp.Navigate(s.url), chromedp.WaitVisible(chromedp.CSS("#capture-token")))
	press(s.token, "start", "The capture has started.")
	run(until(`document.getElementById("capture").textContent.startsWith("running")`))
	s.send(t, client, 5)
	press(s.token, "stop", "The capture has stopped.")
	run(until(`document.getElementById("capture").textContent.startsWith("stopped")`),
		chromedp.SendKeys(chromedp.CSS("#capture-token"), s.token), chromedp.Click(chromedp.CSS(`button[value="download"]`)))
	select {
	case name := <-downloaded:
		captured(t, filepath.Join(downloads, name))
	case <-ctx.Done():
		require.FailNow(t, "nothing was downloaded")
	}

	mu.Lock()
	defer mu.Unlock()
	require.Empty(t, problems)
	require.Empty(t, elsewhere, "nothing is loaded from elsewhere")
}

// captured checks that tshark reads the five datagrams, which the full queue has dropped.
func captured(t *testing.T, path string) {
	t.Helper()
	out, err := exec.Command("tshark", "-r", path, "-T", "fields", "-e", "udp.payload", "-e", "frame.comment").Output()
	require.NoError(t, err)
	line := "7175657374696f6e\tdropped: queue\n"
	require.Equal(t, strings.Repeat(line, 5), string(out))
}

// picture writes a picture of a page with some traffic.
func (s *server) picture(t *testing.T, ctx context.Context, client *udp.Conn) {
	t.Helper()
	for i := range 20 {
		s.send(t, client, 10+i%7*5)
		time.Sleep(150 * time.Millisecond) // for a line that goes up and down
	}
	b, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(*screenshot, b, 0o644))
}

// Another site cannot use the page: not by a name that it points here, and not by a form.
func TestOtherSites(t *testing.T) {
	ctx := start(t)
	s := serve(t)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<form method="post" action="` + s.url + `capture"><input name="token" value="` + s.token +
			`"><button name="do" value="start">go</button></form>`))
	}))
	defer other.Close()
	rebound := strings.Replace(s.url, "127.0.0.1", "rebound.test", 1)
	fetched := `fetch("` + s.url + `stats").then((r) => r.text(), (e) => "refused")`
	require.NoError(t, chromedp.Do(ctx, chromedp.Navigate(strings.Replace(other.URL, "127.0.0.1", "localhost", 1))))
	require.Equal(t, "refused", evaluate[string](t, ctx, fetched, chromedp.EvalAwaitPromise), "it reads nothing")
	require.NoError(t, chromedp.Do(ctx, chromedp.Click(chromedp.CSS("button")),
		until(`document.body.innerText.includes("another site")`)))
	r, err := http.NewRequestWithContext(ctx, "GET", s.url, nil)
	require.NoError(t, err)
	r.Host = strings.TrimSuffix(strings.TrimPrefix(rebound, "http://"), "/")
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	answer.Body.Close()
	require.Equal(t, http.StatusMisdirectedRequest, answer.StatusCode)
}
