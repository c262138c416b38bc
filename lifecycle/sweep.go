package lifecycle

import (
	"os"
	"strings"
	"time"
)

// sweepEvery is how often an engine that is not opened anew looks for what nobody needs any more.
const sweepEvery = time.Hour

// sweep removes what is older than a day and of no use: closed tickets, what crashes left of files and downloads, the folders of scripts
// without a ticket. Nothing that cannot be removed is worth an error.
func (ts *tickets) sweep() {
	ts.mu.Lock()
	due := time.Since(ts.swept) > sweepEvery
	if due {
		ts.swept = time.Now()
	}
	ts.mu.Unlock()
	if !due {
		return
	}
	ts.old("tickets", func(name string) bool {
		if !strings.HasSuffix(name, ".json") {
			return true
		}
		t, err := ts.read(ts.root.own("tickets", name))
		return err == nil && t.State == Closed
	})
	ts.old("runs", func(name string) bool {
		_, err := os.Stat(ts.root.own("tickets", name+".json"))
		return os.IsNotExist(err)
	})
	ts.old("prefetch", func(string) bool { return true })
}

// old removes the entries of a folder of our own that are older than a ticket's life and useless.
func (ts *tickets) old(folder string, useless func(name string) bool) {
	entries, err := os.ReadDir(ts.root.own(folder))
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > ticketLife && useless(e.Name()) {
			os.RemoveAll(ts.root.own(folder, e.Name()))
		}
	}
}
