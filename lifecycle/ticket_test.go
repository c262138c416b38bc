package lifecycle

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func open(t testing.TB, dir string) *Engine {
	t.Helper()
	e, err := Open(t.Context(), Options{Root: dir})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func specification(t testing.TB, m map[string]any) []byte {
	t.Helper()
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A ticket through its states, read again by another process at each.
func TestTicketStates(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	tracking := filepath.Join(dir, "ongoing-deployment", "d-1")
	first, err := e.Accept("command/with=odd+characters", "execution", AfterInstall, specification(t, minimal()))
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(tracking); err != nil || string(data) != "command/with=odd+characters" { // P-85, V-96: no newline
		t.Errorf("tracking file %q, %v", data, err)
	}
	result := Result{Code: ScriptFailed, Script: "s.sh", Message: "failed", Log: "log"}
	for _, step := range []struct {
		state State
		do    func(*Ticket) error
		open  bool
	}{
		{Accepted, func(*Ticket) error { return nil }, true},
		{Running, (*Ticket).Begin, true},
		{Finished, func(t *Ticket) error { return t.Finish(result) }, true},
		{Closed, (*Ticket).Close, false},
	} {
		if err := step.do(first); err != nil {
			t.Fatal(err)
		}
		e.Close()
		e = open(t, dir)
		found := 0
		for ticket, err := range e.Open() {
			if err != nil {
				t.Fatal(err)
			}
			found++
			if ticket.State != step.state || ticket.Deployment().ID != "d-1" || ticket.Event != AfterInstall {
				t.Errorf("after %s: %+v", step.state, ticket)
			}
		}
		if (found == 1) != step.open {
			t.Errorf("after %s: %d open tickets", step.state, found)
		}
	}
	again, err := e.Ticket("command/with=odd+characters")
	if err != nil || again == nil || again.Result == nil {
		t.Fatalf("closed ticket: %+v, %v", again, err)
	}
	if diff := cmp.Diff(result, *again.Result); diff != "" { // what a redelivered command is answered with
		t.Error(diff)
	}
	if _, err := os.Stat(tracking); err == nil { // P-49
		t.Error("the tracking file is left")
	}
	if none, err := e.Ticket("another"); none != nil || err != nil {
		t.Errorf("no ticket: %v, %v", none, err)
	}
	e.Close()
}

// The token of a private repository is never written to disk.
func TestTicketHasNoToken(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	defer e.Close()
	m := with("Revision", gitHub())
	m["GitHubAccessToken"] = "ghs_verysecret"
	ticket, err := e.Accept("c", "x", DownloadBundle, specification(t, m))
	if err != nil {
		t.Fatal(err)
	}
	if ticket.Deployment().Revision.GitHub.Token != "ghs_verysecret" || !ticket.Stripped {
		t.Error("the token is not at hand, or not known to be left out")
	}
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "verysecret") {
			t.Errorf("%s holds the token", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Tickets that cannot be read are told once and set aside; old ones go (P-86).
func TestTicketsOfAnotherTime(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	defer e.Close()
	for _, name := range []string{"broken", "old", "later"} {
		ticket, err := e.Accept(name, "x", Install, specification(t, minimal()))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, ".slipway", "tickets", ticket.Key()+".json")
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		switch name {
		case "broken":
			data = data[:len(data)/2]
		case "old":
			data = []byte(strings.Replace(string(data), ticket.Received.Format("2006-01-02T"), time.Now().Add(-48*time.Hour).Format("2006-01-02T"), 1))
		case "later":
			data = []byte(strings.Replace(string(data), `"version": 1`, `"version": 99`, 1))
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for round, want := range []int{2, 0} {
		wrong := 0
		for ticket, err := range e.Open() {
			if err == nil {
				t.Errorf("a ticket was taken: %+v", ticket)
				continue
			}
			wrong++
		}
		if wrong != want {
			t.Errorf("round %d tells %d, want %d", round, wrong, want)
		}
	}
}

// One root has one engine.
func TestRootIsLocked(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	if _, err := Open(t.Context(), Options{Root: dir}); err == nil {
		t.Error("a second engine opened the root")
	}
	e.Close()
	open(t, dir).Close()
	if _, err := Open(t.Context(), Options{Root: "relative"}); err == nil {
		t.Error("a relative root was taken")
	}
}

func FuzzTicket(f *testing.F) {
	good, err := json.Marshal(Ticket{Version: ticketVersion, Command: "c", Event: Install, State: Running, Specification: specification(f, minimal())})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1,"specification":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		ticket, err := decodeTicket(data)
		if err == nil && (ticket.deployment == nil || ticket.deployment.ID == "") {
			t.Error("a ticket without a deployment was taken")
		}
	})
}
