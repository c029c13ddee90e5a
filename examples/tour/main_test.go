package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTourShowsEachStepInOrder(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), nil, &out))

	text := out.String()
	for _, want := range []string{
		`1\. An echo server replies to a client`,
		`the client sent "hello" and got "hello" from 127\.0\.0\.1:\d+`,
		`the client sent "" and got "" from 127\.0\.0\.1:\d+`,
		`2\. A connected client learns`,
		`the client received: udp: datagram to 127\.0\.0\.1:\d+ was refused`,
		`\? true\n`,
		`the same client, on the same port, got "anybody now\?"`,
		`3\. A multicast server and a client find each other`,
		`the server joined 239\.255\.4\.7 on \S+`,
		`the client asked 239\.255\.4\.7:\d+ and got "here I am" from 127\.0\.0\.1:\d+`,
		`4\. A name is resolved`,
		`localhost:domain is \[.*127\.0\.0\.1:53`,
		`5\. Everything was counted`,
		`echo server +2 +2 +0 +\w+ +2 +0 +0\n`,
		`echo client +2 +2 +0 +\w+ +2 +0 +0\n`,
		`late server +1 +1 +0 +\w+ +1 +0 +0\n`,
		`early client +1 +1 +0 +\w+ +2 +0 +1\n`,
		`group server +1 +1 +0 +\w+ +1 +0 +0\n`,
		`group client +1 +1 +0 +\w+ +1 +0 +0\n`,
	} {
		at := regexp.MustCompile(want).FindStringIndex(text)
		require.NotNil(t, at, "%s\nis not in the rest of the output:\n%s", want, text)
		text = text[at[1]:]
	}
	require.Empty(t, strings.TrimSpace(text))
}

func TestTourTakesNoArguments(t *testing.T) {
	require.Error(t, run(t.Context(), []string{"x"}, &bytes.Buffer{}))
	require.Error(t, run(t.Context(), []string{"-x"}, &bytes.Buffer{}))
	require.NoError(t, run(t.Context(), []string{"-h"}, &bytes.Buffer{}))
}

// With -debug the page has the sockets of the tour, and values that change.
func TestTourDebug(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"-debug"}, w)
		w.Close()
	}()
	lines := bufio.NewScanner(r)
	url := ""
	for url == "" && lines.Scan() {
		url = regexp.MustCompile(`http://127\.0\.0\.1:\d+/$`).FindString(lines.Text())
	}
	require.NotEmpty(t, url)
	look := func() string {
		answer, err := http.Get(url + "stats")
		require.NoError(t, err)
		defer answer.Body.Close()
		b, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		return string(b)
	}
	require.Contains(t, look(), `"name":"late server"`)
	require.Eventually(t, func() bool {
		_, live, _ := strings.Cut(look(), `"name":"live server"`)
		return regexp.MustCompile(`^.*?"name":"handled","value":[1-9]`).MatchString(live)
	}, time.Minute, time.Millisecond)
	http.DefaultClient.CloseIdleConnections()
	cancel()
	for lines.Scan() {
	}
	require.NoError(t, <-ended)
}

func TestTourStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, run(ctx, nil, &bytes.Buffer{}), context.Canceled)
}
