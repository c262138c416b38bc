package lifecycle

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
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

// A command that was reported is over, also where a full disk keeps word of it from being written: a later process must not take it for one in
// hand, whose tracking file another agent has removed, and report it as lost.
func TestClosedOnAFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a small tmpfs")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	e := open(t, dir)
	ticket, err := e.Accept("c", "x", AfterInstall, specification(t, minimal()))
	if err != nil {
		t.Fatal(err)
	}
	if err := ticket.Begin(); err != nil {
		t.Fatal(err)
	}
	fill := filepath.Join(dir, "fill")
	if err := os.WriteFile(fill, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	if err := ticket.Finish(Result{Message: "Succeeded: ", Log: strings.Repeat("output\n", 1000)}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Finish() = %v", err)
	}
	if err := ticket.Close(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Close() = %v", err)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	e.Close()
	e = open(t, dir)
	defer e.Close()
	for left, err := range e.Open() {
		t.Errorf("still in hand: %v, %v", left.State, err)
	}
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

// Tickets that hold no command are told once and set aside; old ones go (P-86), and are told if they were open.
func TestTicketsOfAnotherTime(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	defer e.Close()
	for _, name := range []string{"broken", "old", "later", "stateless", "without a result"} {
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
		case "stateless":
			data = []byte(strings.Replace(string(data), `"accepted"`, `"begun"`, 1))
		case "without a result":
			data = []byte(strings.Replace(string(data), `"accepted"`, `"finished"`, 1))
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for round, want := range []int{5, 0} {
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

// The key that a revision may hold itself is not written to disk either, and the ticket can be read again (P-68b).
func TestTicketHasNoUnusedToken(t *testing.T) {
	e := open(t, t.TempDir())
	defer e.Close()
	revision := gitHub()
	revision["GitHubRevision"].(map[string]any)["Anonymous"] = false
	revision["GitHubRevision"].(map[string]any)["OAuthToken"] = "ghs_verysecret"
	if _, err := e.Accept("c", "x", DownloadBundle, specification(t, with("Revision", revision))); err != nil {
		t.Fatal(err)
	}
	again, err := e.Ticket("c")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(again.Specification), "verysecret") || again.Stripped || again.Deployment().Revision.GitHub.CommitID == "" {
		t.Errorf("ticket %s", again.Specification)
	}
}

// A command whose tracking file cannot be written is refused, and no later process finds it accepted.
func TestRefusedCommandLeavesNoTicket(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	defer e.Close()
	if err := os.WriteFile(filepath.Join(dir, "ongoing-deployment"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Accept("c", "x", Install, specification(t, minimal())); err == nil {
		t.Fatal("accepted without a tracking file")
	}
	if left, err := e.Ticket("c"); left != nil || err != nil {
		t.Errorf("ticket %+v, %v", left, err)
	}
}

// A ticket that cannot be read now may be read later: it stays where it is, and its tracking file is not taken for another agent's.
func TestUnreadableTicketStays(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	defer e.Close()
	ticket, err := e.Accept("c", "x", Install, specification(t, minimal()))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, ".slipway", "tickets", ticket.Key()+".json")
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file, 0o700); err != nil { // reading it is an error of the file system
		t.Fatal(err)
	}
	for taken, err := range e.Open() {
		if err == nil {
			t.Errorf("taken: %+v", taken)
		}
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the ticket was set aside: %v", err)
	}
	if found, err := e.Foreign(); len(found) != 0 || err == nil {
		t.Errorf("found another agent's commands: %+v, %v", found, err)
	}
}

// P-87: a command in hand whose tracking file is gone was settled by the official agent meanwhile, and an installation of it is not
// gone on with.
func TestCommandThatAnotherAgentSettled(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	for _, c := range []struct {
		command, deployment string
	}{{"settled", "d-1"}, {"ours", "d-2"}} {
		ticket, err := e.Accept(c.command, "x", Install, specification(t, with("DeploymentId", c.deployment)))
		if err == nil {
			err = ticket.Begin()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	e.Close()
	if err := os.Remove(filepath.Join(dir, "ongoing-deployment", "d-1")); err != nil {
		t.Fatal(err)
	}
	e = open(t, dir)
	defer e.Close()
	states := map[string]State{}
	for ticket, err := range e.Open() {
		if err != nil {
			t.Fatal(err)
		}
		states[ticket.Command] = ticket.State
		if ticket.State == Finished && ticket.Result.Code != FailedAfterReboot {
			t.Errorf("%s: %+v", ticket.Command, ticket.Result)
		}
	}
	if diff := cmp.Diff(map[string]State{"settled": Finished, "ours": Running}, states); diff != "" {
		t.Error(diff)
	}
}

// What nobody needs any more goes after a day, while the engine stays open; what is in hand stays.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	defer e.Close()
	own := filepath.Join(dir, ".slipway")
	long := time.Now().Add(-25 * time.Hour)
	age := func(names ...string) {
		for _, name := range names {
			if err := os.Chtimes(filepath.Join(own, name), long, long); err != nil {
				t.Fatal(err)
			}
		}
	}
	open, err := e.Accept("open", "x", Install, specification(t, minimal()))
	if err != nil {
		t.Fatal(err)
	}
	over, err := e.Accept("over", "x", Install, specification(t, minimal()))
	if err == nil {
		err = errors.Join(over.Finish(Result{}), over.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"runs/" + open.Key(), "runs/" + over.Key(), "runs/orphan", "prefetch/d-0", "prefetch/now"} {
		if err := os.MkdirAll(filepath.Join(own, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	age("tickets/"+open.Key()+".json", "tickets/"+over.Key()+".json", "runs/"+open.Key(), "runs/orphan", "prefetch/d-0")
	e.tickets.swept = time.Time{}
	if _, err := e.Accept("next", "x", Install, specification(t, minimal())); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"tickets/" + open.Key() + ".json": true, "tickets/" + over.Key() + ".json": false,
		"runs/" + open.Key(): true, "runs/" + over.Key(): true, "runs/orphan": false, "prefetch/d-0": false, "prefetch/now": true,
	} {
		if _, err := os.Stat(filepath.Join(own, name)); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", name, err == nil, want)
		}
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
		if err == nil && (ticket.deployment == nil || ticket.deployment.ID == "" || ticket.State == Finished && ticket.Result == nil) {
			t.Error("a ticket without a deployment, or a finished one without a result, was taken")
		}
	})
}
