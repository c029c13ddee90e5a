// Package udpdebug shows what the sockets of a program do on a web page: addresses, rates,
// drops by their reason, what waits, memberships, and what the system can do for each. It is
// for operators, on a port that only they can reach. For monitoring there is package udpprom.
//
//	page := udpdebug.New(udpdebug.Config{})
//	page.AddSocket("dns", conn)
//	http.Handle("/debug/udp/", http.StripPrefix("/debug/udp", page))
//
// The page loads nothing from other servers, works with the keyboard, and has a dark mode. It
// shows the addresses of peers and groups to everybody who can open it. Other web sites cannot
// read it: see [Config.Hosts].
package udpdebug

import (
	"bytes"
	"embed"
	"encoding/json"
	"html/template"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/udpkit/udp"
)

// Config configures the page. With the zero value it shows everything, and can change nothing.
type Config struct {
	// Token is required for actions (see [Handler.AddAction]) and captures. With an empty
	// Token there are none. It should be long and random, like the result of [rand.Text].
	Token string

	// Hosts are the host names under which the page may be opened, besides localhost and
	// addresses. Requests for other names are rejected, because a web site can make its own
	// name resolve to this server (DNS rebinding).
	Hosts []string

	// Capture adds buttons that start, stop and download a capture. Its Trace must be that of
	// the sockets.
	Capture Capturer

	// MaxCapture is how many bytes of a capture are kept, in memory; 0 is 16 MiB.
	MaxCapture int

	// Interval is the time between two updates of an open page; 0 is a second.
	Interval time.Duration
}

// Handler is an [http.Handler] with the page at its root. Its methods may be called from any
// goroutine, also while it serves.
//
//	GET  /        the page
//	GET  /stats   all numbers as JSON
//	GET  /events  the same as server-sent events, one each Config.Interval
//	POST /action  runs an action; form values: token and name
//	POST /capture form values: token, and do with start, stop, download or last
type Handler struct {
	cfg      Config
	mux      *http.ServeMux
	origin   *http.CrossOriginProtection
	capture  capture
	commands sync.Mutex // held while the capture starts, stops or is sent
	stream   stream
	once     sync.Once
	ended    chan struct{}

	mu      sync.Mutex // guards what follows
	sources []*source
	actions []*action
}

// source is something that the page has a section for.
type source struct {
	kind, name string
	look       func(*section)
}

type action struct {
	name string
	run  func() error
}

// Socket is a [*udp.Conn], [*udp.ConnectedConn], [*udp.MulticastConn] or [*udp.PacketConn].
type Socket interface {
	// Stats returns the counters.
	Stats() udp.Stats
	// Info returns what the system granted.
	Info() udp.Info
	// LocalAddr returns the socket's own address.
	LocalAddr() net.Addr
	// RemoteAddr returns the peer, nil if there is none.
	RemoteAddr() net.Addr
}

// New returns a Handler that shows nothing yet.
func New(cfg Config) *Handler {
	if cfg.Interval <= 0 {
		cfg.Interval = time.Second
	}
	if cfg.MaxCapture <= 0 {
		cfg.MaxCapture = 16 << 20
	}
	h := &Handler{cfg: cfg, mux: http.NewServeMux(), origin: http.NewCrossOriginProtection(), ended: make(chan struct{})}
	h.capture.most = cfg.MaxCapture
	h.mux.HandleFunc("GET /{$}", h.page)
	h.mux.HandleFunc("GET /stats", h.stats)
	h.mux.HandleFunc("GET /events", h.events)
	h.mux.HandleFunc("POST /action", h.action)
	h.mux.HandleFunc("POST /capture", h.capturing)
	h.mux.Handle("GET /page.css", http.FileServerFS(files))
	h.mux.Handle("GET /page.js", http.FileServerFS(files))
	return h
}

// AddSocket shows a socket under a name, until remove is called.
func (h *Handler) AddSocket(name string, s Socket) (remove func()) {
	return h.add(&source{"socket", name, func(to *section) { to.socket(s) }})
}

// AddGroup shows the members of a Group.
func (h *Handler) AddGroup(name string, g *udp.Group) (remove func()) {
	var all []func()
	for i, c := range g.Conns() {
		all = append(all, h.AddSocket(name+"/"+strconv.Itoa(i), c))
	}
	return func() {
		for _, f := range all {
			f()
		}
	}
}

// AddQueue shows how many datagrams wait in a Queue, and what it has dropped.
func (h *Handler) AddQueue(name string, q *udp.Queue) (remove func()) {
	return h.add(&source{"queue", name, func(to *section) {
		s := q.Stats()
		to.counts(counter{"received", float64(s.Received)}, counter{"dropped", float64(s.Dropped)},
			counter{"peak", float64(s.Peak)}, counter{"waiting", float64(s.Waiting)})
	}})
}

// AddWorkers shows how many datagrams wait in Workers, were handled and were dropped.
func (h *Handler) AddWorkers(name string, w *udp.Workers) (remove func()) {
	return h.add(&source{"workers", name, func(to *section) {
		s := w.Stats()
		to.counts(counter{"received", float64(s.Received)}, counter{"handled", float64(s.Handled)},
			counter{"dropped", float64(s.Dropped)}, counter{"panicked", float64(s.Panicked)},
			counter{"closed", float64(s.Closed)}, counter{"peak", float64(s.Peak)}, counter{"waiting", float64(s.Waiting)})
	}})
}

// AddAction adds a button that calls f, such as one that writes a capture. It needs a
// [Config.Token], which the user of the page enters. An error of f is shown.
func (h *Handler) AddAction(name string, f func() error) (remove func()) {
	a := &action{name, f}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.actions = append(h.actions, a)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.actions = slices.DeleteFunc(h.actions, func(b *action) bool { return b == a })
	}
}

func (h *Handler) add(s *source) (remove func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sources = append(h.sources, s)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.sources = slices.DeleteFunc(h.sources, func(t *source) bool { return t == s })
	}
}

// Close ends the event streams of open pages. Pass it to [http.Server.RegisterOnShutdown],
// because [http.Server.Shutdown] waits for the streams.
func (h *Handler) Close() { h.once.Do(func() { close(h.ended) }) }

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy",
		"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Cache-Control", "no-store")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	if h.guard(w, r) {
		h.mux.ServeHTTP(w, r)
	}
}

//go:embed page.html page.css page.js
var files embed.FS

var pageTemplate = template.Must(template.ParseFS(files, "page.html"))

func (h *Handler) page(w http.ResponseWriter, _ *http.Request) { h.show(w, http.StatusOK, "") }

// show writes the page with the result of an action.
func (h *Handler) show(w http.ResponseWriter, status int, result string) {
	var b bytes.Buffer
	v := view{Snapshot: h.look(), Result: result, Millis: h.cfg.Interval.Milliseconds()}
	if h.cfg.Token != "" {
		v.Capture = v.Snapshot.Capture != nil
		h.mu.Lock()
		for _, a := range h.actions {
			v.Actions = append(v.Actions, a.name)
		}
		h.mu.Unlock()
	}
	if err := pageTemplate.Execute(&b, v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the browser may have closed the connection
}

type view struct {
	Snapshot snapshot
	Actions  []string
	Capture  bool
	Result   string
	Millis   int64
}

func (h *Handler) stats(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(h.look())
}

// maxForm is the longest body of a POST, bytes.
const maxForm = 64 << 10

func (h *Handler) action(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if !h.allowed(r) {
		h.show(w, http.StatusForbidden, "The token is wrong.")
		return
	}
	name := r.PostFormValue("name")
	h.mu.Lock()
	i := slices.IndexFunc(h.actions, func(a *action) bool { return a.name == name })
	var a *action
	if i >= 0 {
		a = h.actions[i]
	}
	h.mu.Unlock()
	if a == nil {
		h.show(w, http.StatusNotFound, "There is no such action.")
		return
	}
	if err := a.run(); err != nil {
		h.show(w, http.StatusInternalServerError, name+": "+err.Error())
		return
	}
	h.show(w, http.StatusOK, name+": done.")
}
