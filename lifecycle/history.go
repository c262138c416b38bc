package lifecycle

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Record is one event of a deployment as the history has it: a line of <root>/.slipway/history.jsonl.
type Record struct {
	At          time.Time     `json:"at"` // its end
	Took        time.Duration `json:"took"`
	Group       string        `json:"group"`
	GroupName   string        `json:"group_name,omitempty"`
	Application string        `json:"application,omitempty"`
	Deployment  string        `json:"deployment"`
	Event       Event         `json:"event"`
	Command     string        `json:"command,omitempty"` // the service's identifier; empty for a local deployment
	Revision    string        `json:"revision,omitempty"`
	AppSpec     string        `json:"appspec,omitempty"`              // its name, where it is not the usual one
	Behavior    string        `json:"file_exists_behavior,omitempty"` // of the deployment, where it is not the usual one
	Undoes      string        `json:"undoes,omitempty"`               // the deployment that a local undo replaces
	Last        bool          `json:"last,omitempty"`                 // of a local deployment, which may end with any event
	Code        Code          `json:"code"`
	Script      string        `json:"script,omitempty"`
	Message     string        `json:"message,omitempty"`
	Log         string        `json:"log,omitempty"`
}

const (
	historyFile = "history.jsonl"
	historyMax  = 4 << 20 // bytes, from which on a new file is begun; one old file is kept
)

// remember adds an event to the history. It is for people, and no reason to fail a deployment.
func (e *Engine) remember(t *Ticket, r Result, took time.Duration) {
	d := t.deployment
	rec := Record{
		At: time.Now().UTC().Truncate(time.Millisecond), Took: took, Group: d.GroupID, GroupName: d.GroupName, Application: d.Application,
		Deployment: d.ID, Event: t.Event, Revision: d.Revision.String(), Code: r.Code, Script: r.Script, Message: r.Message, Log: r.Log, Undoes: d.Undoes,
	}
	if !d.Local {
		rec.Command = t.Command
	}
	rec.Last = t.last && r.Code == Succeeded
	if d.AppSpecFilename != defaultAppSpec {
		rec.AppSpec = d.AppSpecFilename
	}
	if d.FileExistsBehavior != defaultBehavior {
		rec.Behavior = d.FileExistsBehavior
	}
	if err := e.root.appendHistory(rec); err != nil {
		e.log.Warn("the event could not be added to the history", zap.Error(err))
	}
}

// appendHistory writes a line with one call, so that two processes can. A crash may leave a part of one at the end.
func (r root) appendHistory(rec Record) error {
	line, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	name := r.own(historyFile)
	if info, err := os.Stat(name); err == nil && info.Size() > historyMax {
		if err := os.Rename(name, name+".1"); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	line = append(line, '\n')
	if info, err := f.Stat(); err == nil && info.Size() > 0 {
		var last [1]byte
		if _, err := f.ReadAt(last[:], info.Size()-1); err == nil && last[0] != '\n' {
			line = append([]byte{'\n'}, line...) // the crash was in the middle of a line
		}
	}
	_, err = f.Write(line)
	return err
}

// records reads the history, oldest first. What is no record is passed over.
func (r root) records() ([]Record, error) {
	var all []Record
	for _, name := range []string{historyFile + ".1", historyFile} {
		f, err := os.Open(r.own(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the history: %w", err)
		}
		err = eachRecord(bufio.NewReader(f), func(rec Record) { all = append(all, rec) })
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read the history: %w", err)
		}
	}
	return all, nil
}

func eachRecord(in *bufio.Reader, yield func(Record)) error {
	for {
		line, err := in.ReadBytes('\n')
		var rec Record
		if json.Unmarshal(line, &rec) == nil && rec.Deployment != "" && rec.Group != "" {
			yield(rec)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Past is a deployment as this host knows it.
type Past struct {
	Group, Deployment      string
	GroupName, Application string
	Revision               string
	Undoes                 string    // not empty: a local undo of that deployment
	Local                  bool      // no command of the service
	Ended                  bool      // a local one that came to its end
	Foreign                bool      // nothing but its folder is known: the official agent carried it out
	First, Last            time.Time // its first and last event, or the time of its folder
	Events                 []Record  // the last outcome of each event, in the order of their end
	Installed              bool      // it is the one whose files are installed (I-8)
	Archive                string    // its unpacked bundle; empty if it is not on disk any more
	ScriptsLog             string    // what its scripts said; empty if there is nothing
}

// Failed is the event that failed last, nil if none did.
func (p *Past) Failed() *Record {
	for i := len(p.Events) - 1; i >= 0; i-- {
		if p.Events[i].Code != Succeeded {
			return &p.Events[i]
		}
	}
	return nil
}

// BroughtBack is the deployment that a local undo brings back, whose archive is its revision; empty for any other deployment.
func (p *Past) BroughtBack() string {
	if p.Undoes == "" || !filepath.IsAbs(p.Revision) {
		return ""
	}
	return filepath.Base(filepath.Dir(p.Revision))
}

// Took is the time from the beginning of the first event to the end of the last.
func (p *Past) Took() time.Duration {
	if len(p.Events) == 0 {
		return 0
	}
	return p.Last.Sub(p.Events[0].At.Add(-p.Events[0].Took))
}

// History tells of all deployments that this host knows, the newest first: those in the history, and those that only have a folder.
func History(dir string) ([]*Past, error) {
	r := root{path: filepath.Clean(dir)}
	records, err := r.records()
	if err != nil {
		return nil, err
	}
	type key struct{ group, deployment string }
	found := map[key]*Past{}
	var all []*Past
	get := func(group, deployment string, at time.Time) *Past {
		p := found[key{group, deployment}]
		if p == nil {
			p = &Past{Group: group, Deployment: deployment, First: at, Last: at}
			found[key{group, deployment}] = p
			all = append(all, p)
		}
		return p
	}
	for _, rec := range records {
		p := get(rec.Group, rec.Deployment, rec.At.Add(-rec.Took))
		p.add(rec)
	}
	folders, err := r.folders()
	if err != nil {
		return nil, err
	}
	for _, f := range folders {
		p := get(f.Group, f.Deployment, f.At)
		p.Foreign = len(p.Events) == 0
	}
	for _, p := range all {
		r.complete(p)
	}
	slices.SortStableFunc(all, func(a, b *Past) int { return b.Last.Compare(a.Last) })
	return all, nil
}

func (p *Past) add(rec Record) {
	p.GroupName, p.Application = cmp.Or(rec.GroupName, p.GroupName), cmp.Or(rec.Application, p.Application)
	p.Revision, p.Undoes, p.Local, p.Last, p.Ended = rec.Revision, rec.Undoes, rec.Command == "", rec.At, rec.Last
	p.Events = slices.DeleteFunc(p.Events, func(o Record) bool { return o.Event == rec.Event })
	p.Events = append(p.Events, rec)
}

// complete says what of a deployment is on disk.
func (r root) complete(p *Past) {
	folder := filepath.Join(r.path, p.Group, p.Deployment)
	if archive := filepath.Join(folder, archiveFolder); isDir(archive) {
		p.Archive = archive
	}
	if name := filepath.Join(folder, "logs", "scripts.log"); exists(name) {
		p.ScriptsLog = name
	}
	installed, err := r.pointed(p.Group, lastSuccessful)
	p.Installed = err == nil && installed == p.Deployment
}

// folders are the deployments that have one, of all groups.
func (r root) folders() ([]Prunable, error) {
	groups, err := r.groups()
	if err != nil {
		return nil, err
	}
	var all []Prunable
	for _, group := range groups {
		entries, err := os.ReadDir(filepath.Join(r.path, group))
		if err != nil {
			return nil, fmt.Errorf("list the deployments of the group: %w", err)
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil && e.IsDir() {
				all = append(all, Prunable{Group: group, Deployment: e.Name(), Path: filepath.Join(r.path, group, e.Name()), At: info.ModTime()})
			}
		}
	}
	return all, nil
}

// groups are the deployment groups that have a folder under the root.
func (r root) groups() ([]string, error) {
	entries, err := os.ReadDir(r.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("list the deployment groups: %w", err)
	}
	var names []string
	for _, e := range entries {
		taken := slices.Contains([]string{instructionsFolder, logsFolder, trackingFolder}, e.Name())
		if e.IsDir() && !taken && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
