package udpdebug_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udpdebug"
)

func Example() {
	conn, err := udp.Listen(context.Background(), "udp", "127.0.0.1:0", udp.BaseHandler{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()

	page := udpdebug.New(udpdebug.Config{})
	page.AddSocket("syslog", conn)
	server := http.Server{
		Addr:    "localhost:6060", // a port that only the operators reach
		Handler: http.StripPrefix("/debug/udp", page),
	}
	server.RegisterOnShutdown(page.Close)

	// Instead of a browser and server.ListenAndServe:
	w := httptest.NewRecorder()
	server.Handler.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost:6060/debug/udp/", nil))
	fmt.Println(w.Code, strings.Contains(w.Body.String(), "<h2>socket syslog</h2>"))
	// Output: 200 true
}

// Peers are found by a Trace, so they are made before the socket.
func ExampleNewPeers() {
	peers := udpdebug.NewPeers(10)
	conn, err := udp.Config{Trace: peers.Trace()}.Listen(context.Background(), "udp", "127.0.0.1:0", udp.BaseHandler{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	page := udpdebug.New(udpdebug.Config{})
	remove := page.AddPeers("dns", peers)
	defer remove()

	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/", nil))
	fmt.Println(strings.Contains(w.Body.String(), "<caption>Top peers</caption>"))
	// Output: true
}
