package udpdebug_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/udpdebug"
)

// A name that another site may have pointed at this server is refused, in each method.
func TestHosts(t *testing.T) {
	page := udpdebug.New(udpdebug.Config{Hosts: []string{"debug.example.net"}})
	for host, status := range map[string]int{
		"localhost": 200, "localhost:6060": 200, "LOCALHOST.": 200, "dns.localhost:1": 200, "127.0.0.1": 200, "192.0.2.1:80": 200,
		"[::1]": 200, "[::1]:6060": 200, "[fe80::1%25eth0]:80": 200, "debug.example.net": 200, "Debug.Example.Net:6060": 200,
		"example.net": 421, "evil.example": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421, "": 421, ":80": 421, "a b": 421,
	} {
		for _, path := range []string{"/", "/stats", "/page.js"} {
			r := httptest.NewRequest("GET", path, nil)
			r.Host = host
			w := httptest.NewRecorder()
			page.ServeHTTP(w, r)
			require.Equal(t, status, w.Code, "%q %s", host, path)
		}
	}
}

// Whoever knows the token still cannot have a browser send it from another site.
func TestOrigins(t *testing.T) {
	runs := 0
	page := udpdebug.New(udpdebug.Config{Token: "secret"})
	page.AddAction("capture", func() error { runs++; return nil })
	for header, status := range map[string]int{
		"": 200, "Sec-Fetch-Site: same-origin": 200, "Origin: http://localhost": 200,
		"Sec-Fetch-Site: cross-site": 403, "Sec-Fetch-Site: same-site": 403, "Origin: http://evil.example": 403, "Origin: null": 403,
	} {
		r := httptest.NewRequest("POST", "http://localhost/action", strings.NewReader("token=secret&name=capture"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if name, value, ok := strings.Cut(header, ": "); ok {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		page.ServeHTTP(w, r)
		require.Equal(t, status, w.Code, header)
	}
	require.Equal(t, 3, runs)
}

// There is a limit of open pages, and one that is closed makes room.
func TestStreamsAreBounded(t *testing.T) {
	l := newLab(t, udpdebug.Config{Interval: time.Millisecond})
	open := func() *http.Response {
		r, err := http.Get(l.url + "events")
		require.NoError(t, err)
		return r
	}
	var all []*http.Response
	for range 64 {
		r := open()
		require.Equal(t, http.StatusOK, r.StatusCode)
		all = append(all, r)
	}
	r := open()
	r.Body.Close()
	require.Equal(t, http.StatusServiceUnavailable, r.StatusCode)
	all[0].Body.Close()
	require.Eventually(t, func() bool {
		r := open()
		defer r.Body.Close()
		return r.StatusCode == http.StatusOK
	}, time.Minute, time.Millisecond)
	for _, r := range all {
		r.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
}
