package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"slipway/lifecycle/bundle/bundletest"
)

// zipped is a bundle of files by name.
func zipped(files map[string]string) []byte { return bundletest.Zip(bundletest.Files(files)...) }

func contains(s, sub string) bool { return strings.Contains(s, sub) }

// newApplication is a web application that is well.
func newApplication(t testing.TB) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok")) }))
	t.Cleanup(s.Close)
	return s
}

// listener is the address of the agent's health listener, as its status tells it.
func (h *host) listener() string {
	h.t.Helper()
	return h.listenerOf(filepath.Join("root", statusFile))
}

// listenerOf is the same of an agent whose status file has another name.
func (h *host) listenerOf(status string) string {
	h.t.Helper()
	var r report
	if err := json.Unmarshal([]byte(h.read(status)), &r); err != nil {
		h.t.Fatal(err)
	}
	return "http://" + r.Listen
}
