package udpdebug_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/udpdebug"
)

// capturer writes what a test wants.
type capturer struct {
	to  io.Writer
	err error
}

func (c *capturer) Start(w io.Writer) error { c.to = w; return c.err }
func (c *capturer) Stop() error             { return c.err }
func (c *capturer) WriteLast(w io.Writer) error {
	_, err := io.WriteString(w, "last")
	return errors.Join(err, c.err)
}

func TestCapture(t *testing.T) {
	from := new(capturer)
	l := newLab(t, udpdebug.Config{Token: "secret", Capture: from, MaxCapture: 10})
	do := func(token, command string) (int, string, http.Header) {
		t.Helper()
		r, err := http.PostForm(l.url+"capture", url.Values{"token": {token}, "do": {command}})
		require.NoError(t, err)
		defer r.Body.Close()
		defer http.DefaultClient.CloseIdleConnections()
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		return r.StatusCode, string(b), r.Header
	}
	is := func(command string, status int, text string) {
		t.Helper()
		code, page, _ := do("secret", command)
		require.Equal(t, status, code, page)
		require.Contains(t, page, text)
	}
	for _, command := range []string{"start", "stop", "download", "last"} {
		code, page, _ := do("", command)
		require.Equal(t, http.StatusForbidden, code)
		require.Contains(t, page, "The token is wrong.")
	}
	require.Nil(t, from.to, "it has not started")
	is("stop", http.StatusConflict, "not running")
	is("download", http.StatusNotFound, "There is no capture.")
	is("other", http.StatusBadRequest, "no such command")
	from.err = errors.New("no <way>")
	is("start", http.StatusInternalServerError, "no &lt;way&gt;")
	is("last", http.StatusInternalServerError, "no &lt;way&gt;")
	from.err = nil
	is("start", http.StatusOK, "running, 0 bytes")
	is("start", http.StatusConflict, "running already")
	_, err := from.to.Write([]byte("12345678"))
	require.NoError(t, err)
	is("download", http.StatusConflict, "Stop the capture first.")
	_, from.err = from.to.Write([]byte("901"))
	require.Error(t, from.err, "more than MaxCapture")
	_, err = from.to.Write([]byte("9"))
	require.Error(t, err, "and nothing after a gap")
	is("stop", http.StatusOK, "stopped, 8 bytes, full")
	code, body, head := do("secret", "download")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "12345678", body)
	require.Equal(t, "application/x-pcapng", head.Get("Content-Type"))
	require.Regexp(t, `^attachment; filename="udp-\d{8}-\d{6}\.pcapng"$`, head.Get("Content-Disposition"))
	from.err = nil
	_, body, _ = do("secret", "last")
	require.Equal(t, "last", body)
	is("start", http.StatusOK, "running, 0 bytes")
}

// A page without a Capturer, or without a Token, has no buttons for one.
func TestNoCapture(t *testing.T) {
	for _, cfg := range []udpdebug.Config{{Token: "secret"}, {Capture: new(capturer)}} {
		l := newLab(t, cfg)
		_, page := get(t, l.url)
		require.NotContains(t, page, "<form")
		r, err := http.PostForm(l.url+"capture", url.Values{"token": {cfg.Token}, "do": {"start"}})
		require.NoError(t, err)
		r.Body.Close()
		http.DefaultClient.CloseIdleConnections()
		require.Contains(t, []int{http.StatusForbidden, http.StatusNotFound}, r.StatusCode)
	}
}
