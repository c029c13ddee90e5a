package udpdebug

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// guard refuses what other web sites make a browser send: requests under a name that they have
// pointed at this server (DNS rebinding), and those that change something from another origin. It
// returns false when it has answered.
func (h *Handler) guard(w http.ResponseWriter, r *http.Request) bool {
	if !h.mayBe(r.Host) {
		http.Error(w, "udpdebug: this name is not in Config.Hosts", http.StatusMisdirectedRequest)
		return false
	}
	if err := h.origin.Check(r); err != nil {
		http.Error(w, "udpdebug: the request comes from another site", http.StatusForbidden)
		return false
	}
	return true
}

// mayBe reports whether a request's Host is one of this server. An address cannot be pointed
// elsewhere, and localhost is resolved without DNS (RFC 6761).
func (h *Handler) mayBe(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost") ||
		slices.ContainsFunc(h.cfg.Hosts, func(own string) bool { return strings.EqualFold(own, host) })
}

// allowed reports whether the form has the token.
func (h *Handler) allowed(r *http.Request) bool {
	return h.cfg.Token != "" && same(r.PostFormValue("token"), h.cfg.Token)
}

// same compares in a time that does not depend on how much is right.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
