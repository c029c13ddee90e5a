package udpdebug

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// A Capturer records the packets of sockets. A *pcap.Capture of the module
// github.com/udpkit/udp/pcap is one; this package does not depend on that module.
type Capturer interface {
	// Start writes packets to w until Stop.
	Start(w io.Writer) error
	// Stop completes what Start has begun.
	Stop() error
	// WriteLast writes the packets that are in memory.
	WriteLast(w io.Writer) error
}

// capture is what the Capturer has written. It is in memory, so that the page needs no directory
// and its users cannot fill a disk.
type capture struct {
	most int

	mu      sync.Mutex // guards what follows
	running bool
	full    bool // the rest was discarded
	began   time.Time
	data    []byte
}

var errFull = errors.New("udpdebug: the capture has reached Config.MaxCapture")

// Write implements io.Writer for the Capturer. A write is taken whole or not at all.
func (c *capture) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.full || len(c.data)+len(b) > c.most {
		c.full = true
		return 0, errFull
	}
	c.data = append(c.data, b...)
	return len(b), nil
}

// captureState is what the page shows of the capture.
type captureState struct {
	Running bool `json:"running"`
	Full    bool `json:"full"`
	Bytes   int  `json:"bytes"`
}

func (c *capture) state() *captureState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &captureState{c.running, c.full, len(c.data)}
}

// String describes the state; page.js has the same words.
func (s captureState) String() string {
	text := "stopped"
	if s.Running {
		text = "running"
	}
	text += fmt.Sprintf(", %d bytes", s.Bytes)
	if s.Full {
		text += ", full: the rest is not recorded"
	}
	return text
}

// set changes whether the capture is running, if it is not so already.
func (c *capture) set(running bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == running {
		return false
	}
	if c.running = running; running {
		c.data, c.full, c.began = nil, false, time.Now()
	}
	return true
}

// capturing is the handler of POST /capture.
func (h *Handler) capturing(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if !h.allowed(r) {
		h.show(w, http.StatusForbidden, "The token is wrong.")
		return
	}
	if h.cfg.Capture == nil {
		h.show(w, http.StatusNotFound, "There is no capture.")
		return
	}
	h.commands.Lock() // one at a time
	defer h.commands.Unlock()
	switch r.PostFormValue("do") {
	case "start":
		if !h.capture.set(true) {
			h.show(w, http.StatusConflict, "The capture is running already.")
		} else if err := h.cfg.Capture.Start(&h.capture); err != nil {
			h.capture.set(false)
			h.show(w, http.StatusInternalServerError, "The capture did not start: "+err.Error())
		} else {
			h.show(w, http.StatusOK, "The capture has started.")
		}
	case "stop":
		if !h.capture.state().Running {
			h.show(w, http.StatusConflict, "The capture is not running.")
			return
		}
		err := h.cfg.Capture.Stop()
		h.capture.set(false)
		if err != nil && !errors.Is(err, errFull) {
			h.show(w, http.StatusInternalServerError, "The capture has stopped: "+err.Error())
			return
		}
		h.show(w, http.StatusOK, "The capture has stopped.")
	case "download":
		h.capture.mu.Lock()
		running, data, began := h.capture.running, h.capture.data, h.capture.began
		h.capture.mu.Unlock()
		switch {
		case running:
			h.show(w, http.StatusConflict, "Stop the capture first.")
		case len(data) == 0:
			h.show(w, http.StatusNotFound, "There is no capture.")
		default:
			attach(w, began, data)
		}
	case "last":
		var b bytes.Buffer
		if err := h.cfg.Capture.WriteLast(&b); err != nil {
			h.show(w, http.StatusInternalServerError, err.Error())
			return
		}
		attach(w, time.Now(), b.Bytes())
	default:
		h.show(w, http.StatusBadRequest, "There is no such command.")
	}
}

// attach sends a file.
func attach(w http.ResponseWriter, at time.Time, data []byte) {
	head := w.Header()
	head.Set("Content-Type", "application/x-pcapng")
	head.Set("Content-Disposition", at.UTC().Format(`attachment; filename="udp-20060102-150405.pcapng"`))
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(stalledDownload))
	_, _ = w.Write(data) // the browser may have closed the connection
}

// stalledDownload is how long a download may take.
const stalledDownload = 5 * time.Minute
