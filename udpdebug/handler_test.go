package udpdebug_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udpdebug"
	"github.com/udpkit/udp/udptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is a page with a socket, its queue and a multicast socket, behind a prefix.
type lab struct {
	page *udpdebug.Handler
	conn *udp.MulticastConn
	q    *udp.Queue
	url  string
}

func newLab(t *testing.T, cfg udpdebug.Config) *lab {
	n := udptest.NewNet(t, udptest.Config{})
	host := n.Host("server", "10.0.0.1")
	l := &lab{page: udpdebug.New(cfg), q: udp.NewQueue(2, udp.DropNewest)}
	var err error
	l.conn, err = udp.Config{Network: host.Network()}.ListenMulticast(t.Context(), "udp4", ":7", l.q,
		netip.MustParseAddr("239.1.2.3"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.conn.Close(); <-l.conn.Done() })
	l.page.AddSocket("<echo>", l.conn)
	l.page.AddQueue("echo", l.q)
	mux := http.NewServeMux()
	mux.Handle("/debug/udp/", http.StripPrefix("/debug/udp", l.page))
	server := httptest.NewServer(mux)
	t.Cleanup(func() { l.page.Close(); server.CloseClientConnections(); server.Close() })
	l.url = server.URL + "/debug/udp/"
	return l
}

// overflow makes the queue drop three datagrams of five.
func (l *lab) overflow(t *testing.T) {
	for range 5 {
		require.NoError(t, l.conn.SendTo([]byte("12345"), netip.MustParseAddrPort("10.0.0.1:7")))
	}
	require.Eventually(t, func() bool { return l.conn.Stats().Dropped.Queue == 3 }, time.Minute, time.Millisecond)
	t.Cleanup(func() {
		for range 2 {
			(<-l.q.Datagrams()).Release()
		}
	})
}

func get(t *testing.T, url string) (*http.Response, string) {
	r, err := http.Get(url)
	require.NoError(t, err)
	defer r.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	b, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return r, string(b)
}

func TestPage(t *testing.T) {
	l := newLab(t, udpdebug.Config{})
	l.overflow(t)
	r, page := get(t, l.url)
	require.Equal(t, http.StatusOK, r.StatusCode)
	require.Contains(t, page, "&lt;echo&gt;", "names are escaped")
	require.NotContains(t, page, "<echo>")
	require.Contains(t, page, "0.0.0.0:7")
	require.Contains(t, page, `<tr data-counter="dropped_queue" class="drop"><th scope="row">dropped_queue</th><td class="value">3</td>`)
	require.Contains(t, page, `<tr data-counter="waiting" data-gauge><th scope="row">waiting</th><td class="value">2</td>`)
	require.Contains(t, page, "<td>239.1.2.3</td><td></td><td>eth0</td><td>joined</td>")
	require.Contains(t, page, "gso: off")
	require.Contains(t, page, "It needs Linux 4.18")
	require.NotContains(t, page, "<form", "no token, no actions")
	require.NotRegexp(t, `(src|href)="(https?:)?//`, page, "nothing from elsewhere")
	require.NotContains(t, page, "style=", "its own policy forbids it")

	policy := r.Header.Get("Content-Security-Policy")
	require.Contains(t, policy, "default-src 'none'")
	require.NotContains(t, policy, "unsafe")
	for name, kind := range map[string]string{"page.css": "text/css", "page.js": "text/javascript"} {
		r, body := get(t, l.url+name)
		require.Equal(t, http.StatusOK, r.StatusCode)
		require.Contains(t, r.Header.Get("Content-Type"), kind)
		require.NotEmpty(t, body)
	}
	r, _ = get(t, l.url+"page.html")
	require.Equal(t, http.StatusNotFound, r.StatusCode, "the template is none of the files")
}

type snapshot struct {
	Sections []struct {
		Kind, Name string
		Closed     bool
		Counters   []struct {
			Name  string
			Value float64
		}
	}
}

func (s *snapshot) value(kind, name string) float64 {
	for _, section := range s.Sections {
		for _, c := range section.Counters {
			if section.Kind == kind && c.Name == name {
				return c.Value
			}
		}
	}
	return -1
}

func TestStats(t *testing.T) {
	l := newLab(t, udpdebug.Config{})
	l.overflow(t)
	var s snapshot
	_, body := get(t, l.url+"stats")
	require.NoError(t, json.Unmarshal([]byte(body), &s))
	require.EqualValues(t, 25, s.value("socket", "received_bytes"))
	require.EqualValues(t, 3, s.value("queue", "dropped"))
	require.False(t, s.Sections[0].Closed)

	require.NoError(t, l.conn.Close())
	<-l.conn.Done()
	_, body = get(t, l.url+"stats")
	require.NoError(t, json.Unmarshal([]byte(body), &s))
	require.True(t, s.Sections[0].Closed)
	require.EqualValues(t, 25, s.value("socket", "received_bytes"), "the last values stay")
}

// Events follow one another with newer values, and end with Close.
func TestEvents(t *testing.T) {
	l := newLab(t, udpdebug.Config{Interval: time.Millisecond})
	r, err := http.Get(l.url + "events")
	require.NoError(t, err)
	defer r.Body.Close()
	require.Equal(t, "text/event-stream", r.Header.Get("Content-Type"))
	lines := bufio.NewReader(r.Body)
	event := func() (s snapshot) {
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		data, ok := strings.CutPrefix(line, "data: ")
		require.True(t, ok, line)
		require.NoError(t, json.Unmarshal([]byte(data), &s))
		line, err = lines.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "\n", line)
		return s
	}
	s := event()
	require.Zero(t, s.value("socket", "received"))
	l.overflow(t)
	for s.value("socket", "received") < 5 {
		s = event()
	}
	l.page.Close()
	l.page.Close()
	_, err = io.Copy(io.Discard, lines)
	require.NoError(t, err, "the stream ends")
}

func TestActionsNeedTheToken(t *testing.T) {
	l := newLab(t, udpdebug.Config{Token: "secret"})
	runs, fail := 0, error(nil)
	remove := l.page.AddAction("capture", func() error { runs++; return fail })
	_, page := get(t, l.url)
	require.Contains(t, page, `<button name="name" value="capture">capture</button>`)
	require.NotContains(t, page, "secret")
	post := func(token, name string) (int, string) {
		r, err := http.PostForm(l.url+"action", url.Values{"token": {token}, "name": {name}})
		require.NoError(t, err)
		defer r.Body.Close()
		defer http.DefaultClient.CloseIdleConnections()
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		return r.StatusCode, string(b)
	}
	for _, token := range []string{"", "Secret", "secret2"} {
		code, page := post(token, "capture")
		require.Equal(t, http.StatusForbidden, code)
		require.Contains(t, page, "The token is wrong.")
	}
	require.Zero(t, runs)
	r, _ := get(t, l.url+"action?token=secret&name=capture")
	require.Equal(t, http.StatusMethodNotAllowed, r.StatusCode)
	r, err := http.Post(l.url+"action?token=secret&name=capture", "application/x-www-form-urlencoded", nil)
	require.NoError(t, err)
	r.Body.Close()
	require.Equal(t, http.StatusForbidden, r.StatusCode, "a token in a URL gets into logs")
	require.Zero(t, runs)

	code, page := post("secret", "capture")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, page, `<p id="result" role="alert">capture: done.</p>`)
	require.Equal(t, 1, runs)
	fail = errors.New("disk <full>")
	code, page = post("secret", "capture")
	require.Equal(t, http.StatusInternalServerError, code)
	require.Contains(t, page, "capture: disk &lt;full&gt;")
	remove()
	code, _ = post("secret", "capture")
	require.Equal(t, http.StatusNotFound, code)
}

// Without a Token in the Config an empty one is wrong too.
func TestNoTokenNoActions(t *testing.T) {
	l := newLab(t, udpdebug.Config{})
	l.page.AddAction("capture", func() error { t.Error("it ran"); return nil })
	r, err := http.PostForm(l.url+"action", url.Values{"token": {""}, "name": {"capture"}})
	require.NoError(t, err)
	defer r.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	require.Equal(t, http.StatusForbidden, r.StatusCode)
}

func TestRemoved(t *testing.T) {
	page := udpdebug.New(udpdebug.Config{})
	w, err := udp.NewWorkers(udp.WorkersConfig{Handler: udp.BaseHandler{}})
	require.NoError(t, err)
	remove := page.AddWorkers("w", w)
	look := func() string {
		r := httptest.NewRecorder()
		page.ServeHTTP(r, httptest.NewRequest("GET", "http://localhost/", nil))
		return r.Body.String()
	}
	require.Contains(t, look(), `data-name="w"`)
	remove()
	require.Contains(t, look(), "No socket was added.")
}
