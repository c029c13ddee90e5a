package main

import (
	"bufio"
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"unicode"
)

// message returns a message of a first line and headers, name and value by turns.
func message(first string, headers ...string) []byte {
	var b bytes.Buffer
	b.WriteString(first + "\r\n")
	for i := 0; i < len(headers); i += 2 {
		b.WriteString(headers[i] + ": " + headers[i+1] + "\r\n")
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// parseSearch returns the target of an M-SEARCH, and how many seconds the answer may take (section
// 1.3.2).
func parseSearch(b []byte) (target string, wait int, ok bool) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
	if err != nil || r.Method != "M-SEARCH" || r.RequestURI != "*" || r.Header.Get("MAN") != `"ssdp:discover"` {
		return "", 0, false
	}
	wait, err = strconv.Atoi(r.Header.Get("MX"))
	target = r.Header.Get("ST")
	return target, wait, err == nil && wait >= 1 && target != ""
}

// parseAnswer returns the headers of an answer to an M-SEARCH.
func parseAnswer(b []byte) (http.Header, bool) {
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
	if err != nil || r.StatusCode != http.StatusOK || r.Header.Get("USN") == "" {
		return nil, false
	}
	r.Body.Close()
	return r.Header, true
}

// matches reports whether a search target includes a name. A device or service also matches each
// earlier version, and then answers as that version.
func matches(name, target string) (as string, ok bool) {
	if target == "ssdp:all" || target == name {
		return name, true
	}
	kind, version, ok := cutVersion(name)
	targetKind, targetVersion, targetOK := cutVersion(target)
	if ok && targetOK && kind == targetKind && targetVersion < version {
		return target, true
	}
	return "", false
}

// cutVersion splits urn:schemas-upnp-org:device:Basic:1 before its version.
func cutVersion(urn string) (kind string, version int, ok bool) {
	i := strings.LastIndexByte(urn, ':')
	if i < 0 || !strings.HasPrefix(urn, "urn:") {
		return "", 0, false
	}
	version, err := strconv.Atoi(urn[i+1:])
	return urn[:i], version, err == nil && version > 0
}

// clean makes text from another host safe for a terminal.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
