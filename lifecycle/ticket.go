package lifecycle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"
)

// State is how far a ticket has come.
type State string

// The states of a ticket, in order. After a crash, Accepted is acknowledged again, Running is run again (what it had done is
// found and not repeated), Finished is reported, and Closed only answers a command that is delivered again.
const (
	Accepted State = "accepted"
	Running  State = "running"
	Finished State = "finished"
	Closed   State = "closed"
)

const ticketVersion = 1

// ticketLife is how long a command can matter to the service: the official agent's limit for its tracking files (P-86).
const ticketLife = 24 * time.Hour

// A Ticket is one host command that was accepted, on disk as <root>/.slipway/tickets/<key>.json. It is written before the
// command is acknowledged, so that a crash at any instant leaves word of what had been accepted, run and reported.
//
// A ticket is used by one goroutine at a time.
type Ticket struct {
	Version   int       `json:"version"`
	Command   string    `json:"command"`   // the service's HostCommandIdentifier
	Execution string    `json:"execution"` // the service's DeploymentExecutionId
	Event     Event     `json:"event"`
	State     State     `json:"state"`
	Received  time.Time `json:"received"`
	Ended     time.Time `json:"ended,omitzero"` // when the result was known
	Noop      bool      `json:"noop,omitempty"`
	// Specification is the verified content of the envelope, without the GitHub token, which is never written to disk.
	Specification json.RawMessage `json:"specification"`
	// Stripped says that a token was left out: the specification has to be fetched again before a download is resumed.
	Stripped bool    `json:"stripped,omitempty"`
	Result   *Result `json:"result,omitempty"`

	deployment *Deployment
	tickets    *tickets
	last       bool // of the events of a local deployment
}

// Deployment is the parsed specification of the ticket.
func (t *Ticket) Deployment() *Deployment { return t.deployment }

// Key is a name for the command that is safe as a file name.
func (t *Ticket) Key() string { return ticketKey(t.Command) }

// Begin records that the command was acknowledged and is being carried out. After a loss of power the ticket may be as it was before:
// the command would then be acknowledged once more.
func (t *Ticket) Begin() error {
	t.State = Running
	return t.tickets.write(t, false)
}

// Finish records the result, durably, before it is reported. The folders of the command's scripts go then, and not before: they are
// what says that the scripts have run.
func (t *Ticket) Finish(r Result) error {
	t.State, t.Result, t.Ended = Finished, &r, time.Now()
	if err := t.tickets.write(t, true); err != nil {
		return err
	}
	if err := os.RemoveAll(t.tickets.root.own("runs", t.Key())); err != nil {
		return fmt.Errorf("remove the folders of finished scripts: %w", err)
	}
	return nil
}

// Close records that the service has the result, or will never take it. The official agent's tracking file goes (P-49). A ticket that cannot be
// written, on a full disk, goes too: as it was before it would be reported a second time, as lost.
func (t *Ticket) Close() error {
	t.State = Closed
	t.tickets.untrack(t)
	err := t.tickets.write(t, false)
	if err == nil {
		return nil
	}
	if gone := os.Remove(t.tickets.file(t.Command)); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// Drop forgets a ticket whose command the service does not want carried out (P-46).
func (t *Ticket) Drop() error {
	t.tickets.untrack(t)
	if err := os.Remove(t.tickets.file(t.Command)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget a command: %w", err)
	}
	return nil
}

// tickets is the folder of tickets.
type tickets struct {
	root     root
	tracking string // name of the official agent's tracking folder (C-17)
	mu       sync.Mutex
	// mine are the deployments whose tracking file is ours: a file is named by deployment, so two commands of one
	// deployment share it, and it goes with the last of them.
	mine  map[string]int
	swept time.Time // when sweep last looked
}

func ticketKey(command string) string {
	sum := sha256.Sum256([]byte(command))
	return hex.EncodeToString(sum[:16])
}

func (ts *tickets) file(command string) string {
	return ts.root.own("tickets", ticketKey(command)+".json")
}

// accept writes the ticket of a command, durably, and beside it the official agent's tracking file: both before the
// acknowledgement.
func (ts *tickets) accept(t *Ticket, content []byte) error {
	stripped, without, err := withoutToken(content)
	if err != nil {
		return err
	}
	ts.sweep()
	t.Version, t.State, t.Received, t.tickets = ticketVersion, Accepted, time.Now(), ts
	t.Specification, t.Stripped = without, stripped
	err = ts.write(t, true)
	if err == nil {
		err = ts.track(t)
	}
	if err != nil { // the command is refused, and no later process must find it accepted
		return errors.Join(err, t.Drop())
	}
	return nil
}

// withoutToken removes the GitHub token from a specification and reports whether there was one. The token that a revision may hold
// itself is of no use, so that only its name stays (P-68b).
func withoutToken(content []byte) (bool, json.RawMessage, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(content, &m); err != nil {
		return false, nil, &SpecificationError{Problem: fmt.Sprintf("is not a JSON object: %v", err)}
	}
	var revision, gitHub map[string]json.RawMessage
	unused := json.Unmarshal(m["Revision"], &revision) == nil && json.Unmarshal(revision["GitHubRevision"], &gitHub) == nil && gitHub["OAuthToken"] != nil
	token, ok := m["GitHubAccessToken"]
	ok = ok && string(token) != "null"
	if !ok && !unused {
		return false, content, nil
	}
	delete(m, "GitHubAccessToken")
	if unused {
		gitHub["OAuthToken"] = json.RawMessage("null")
		var err error
		if revision["GitHubRevision"], err = json.Marshal(gitHub); err != nil {
			return false, nil, err
		}
		if m["Revision"], err = json.Marshal(revision); err != nil {
			return false, nil, err
		}
	}
	without, err := json.Marshal(m)
	return ok, without, err
}

func (ts *tickets) write(t *Ticket, durable bool) error {
	data, err := json.MarshalIndent(t, "", " ")
	if err != nil {
		return fmt.Errorf("record the command: %w", err)
	}
	if err := writeState(ts.file(t.Command), append(data, '\n'), durable); err != nil {
		return fmt.Errorf("record the command as %s: %w", t.State, err)
	}
	return nil
}

// writeState replaces a file of our own. A crash or a loss of power leaves the old or the new content, never half of it; of a durable
// write it is the new one.
func writeState(name string, data []byte, durable bool) error {
	if err := replaceFile(name, data, 0o600); err != nil || !durable {
		return err
	}
	return syncFolder(filepath.Dir(name))
}

// replaceFile writes a file under another name beside it and renames it: what a file of /tmp carries (a label, a mount) never comes here.
func replaceFile(name string, data []byte, mode os.FileMode) error {
	return renameio.WriteFile(name, data, mode, renameio.WithTempDir(filepath.Dir(name)), renameio.WithStaticPermissions(mode))
}

// load reads the ticket of a command; nil if there is none.
func (ts *tickets) load(command string) (*Ticket, error) {
	t, err := ts.read(ts.file(command))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return t, err
}

func (ts *tickets) read(name string) (*Ticket, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	t, err := decodeTicket(data)
	if err != nil {
		return nil, fmt.Errorf("ticket %s: %w: %w", name, errNoTicket, err)
	}
	t.tickets = ts
	return t, nil
}

// errNoTicket says that a file was read and holds no ticket: reading it again would not help.
var errNoTicket = errors.New("it does not hold a command")

func decodeTicket(data []byte) (*Ticket, error) {
	t := new(Ticket)
	if err := json.Unmarshal(data, t); err != nil {
		return nil, err
	}
	if t.Version != ticketVersion {
		return nil, fmt.Errorf("has version %d, this program writes %d", t.Version, ticketVersion)
	}
	if known := []State{Accepted, Running, Finished, Closed}; !slices.Contains(known, t.State) {
		return nil, fmt.Errorf("its state %q is none of %v", t.State, known)
	}
	if t.Command == "" || t.State == Finished && t.Result == nil {
		return nil, fmt.Errorf("it lacks what a ticket has that is %s", t.State)
	}
	d, err := ParseDeployment(t.Specification)
	if err != nil {
		return nil, err
	}
	t.deployment = d
	return t, nil
}

// all reads the tickets that are not older than a day, oldest first, and removes the others; one of them that was not closed is yielded as
// an error. One that holds no command is moved aside under a name that says so and yielded as an error, so that it is told once.
func (ts *tickets) all() iter.Seq2[*Ticket, error] {
	return func(yield func(*Ticket, error) bool) {
		entries, err := os.ReadDir(ts.root.own("tickets"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			yield(nil, fmt.Errorf("list the tickets: %w", err))
			return
		}
		var found []*Ticket
		for _, e := range entries {
			name := ts.root.own("tickets", e.Name())
			if !strings.HasSuffix(name, ".json") {
				continue
			}
			t, err := ts.read(name)
			switch {
			case errors.Is(err, errNoTicket):
				err = errors.Join(err, os.Rename(name, name+".unreadable"))
			case errors.Is(err, fs.ErrNotExist): // it was dropped meanwhile
				continue
			case err == nil && time.Since(t.Received) > ticketLife:
				os.Remove(name)
				if t.State == Closed {
					continue
				}
				err = fmt.Errorf("%s of deployment %s (command %s) is forgotten as %s: it was received at %s, more than a day ago",
					t.Event, t.deployment.ID, t.Command, t.State, t.Received.Format(time.DateTime))
			}
			if err != nil {
				if !yield(nil, err) {
					return
				}
				continue
			}
			found = append(found, t)
		}
		slices.SortFunc(found, func(a, b *Ticket) int { return a.Received.Compare(b.Received) })
		for _, t := range found {
			if !yield(t, nil) {
				return
			}
		}
	}
}

// track writes the official agent's tracking file: it is how that agent, or a person, sees a deployment in hand (P-85).
func (ts *tickets) track(t *Ticket) error {
	id := t.deployment.ID
	ts.mu.Lock()
	ts.mine[id]++
	ts.mu.Unlock()
	if err := ts.root.mkdir(ts.tracking); err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(ts.root.path, ts.tracking, id), []byte(t.Command), ts.root.fileMode()); err != nil {
		return fmt.Errorf("write the tracking file: %w", err)
	}
	return nil
}

func (ts *tickets) untrack(t *Ticket) {
	id := t.deployment.ID
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.mine[id]--; ts.mine[id] <= 0 {
		delete(ts.mine, id)
		os.Remove(filepath.Join(ts.root.path, ts.tracking, id))
	}
}

// A Tracked command was left in hand by the official agent: a tracking file without a ticket of ours (P-85..P-87).
type Tracked struct {
	Deployment string
	Command    string
	file       string
}

// Forget removes the tracking file, after the command was reported. One that has become another command's stays.
func (t Tracked) Forget() error {
	data, err := os.ReadFile(t.file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && strings.TrimSpace(string(data)) != t.Command {
		return nil
	}
	return os.Remove(t.file)
}

// tracked reports whether the tracking file of a deployment is there.
func (ts *tickets) tracked(t *Ticket) bool {
	_, err := os.Stat(filepath.Join(ts.root.path, ts.tracking, t.deployment.ID))
	return !errors.Is(err, fs.ErrNotExist)
}

// foreign finds what the official agent left. Files older than a day are removed (P-86); one that is no command identifier
// is removed too, and told.
func (ts *tickets) foreign(ours map[string]bool) ([]Tracked, error) {
	folder := filepath.Join(ts.root.path, ts.tracking)
	entries, err := os.ReadDir(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("list the tracking files: %w", err)
	}
	var found []Tracked
	var wrong []error
	for _, e := range entries {
		name := filepath.Join(folder, e.Name())
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		// What a crash left of a file that was being written has a dot before its name.
		if time.Since(info.ModTime()) > ticketLife || strings.HasPrefix(e.Name(), ".") {
			os.Remove(name)
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		command := strings.TrimSpace(string(data))
		if ours[command] {
			continue
		}
		if !plainIdentifier(command) {
			wrong = append(wrong, fmt.Errorf("tracking file %s holds no command identifier: removed", name))
			os.Remove(name)
			continue
		}
		found = append(found, Tracked{Deployment: e.Name(), Command: command, file: name})
	}
	return found, errors.Join(wrong...)
}

// plainIdentifier is the test of V-40: printable ASCII without white space, at most 4,096 bytes.
func plainIdentifier(s string) bool {
	if s == "" || len(s) > 4096 {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// adopt counts the tracking file of a ticket that an earlier process wrote.
func (ts *tickets) adopt(t *Ticket) {
	ts.mu.Lock()
	ts.mine[t.deployment.ID]++
	ts.mu.Unlock()
}
