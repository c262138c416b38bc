package main

import (
	"fmt"
	"time"

	"slipway/lifecycle"
	"slipway/lifecycle/install"
)

// jsonPlan is a plan as scripts read it; docs/plan.md tells what is in it. Names are never used for anything else.
type jsonPlan struct {
	Bundle    string           `json:"bundle"`
	Group     string           `json:"group"`
	GroupName string           `json:"group_name,omitempty"`
	Kind      string           `json:"kind"`
	Succeeds  bool             `json:"succeeds"`
	Problems  []jsonProblem    `json:"problems"`
	Events    []jsonForecast   `json:"events"`
	Counts    planCounts       `json:"counts"`
	Changes   []jsonChange     `json:"changes"`
	Conflicts []jsonConflict   `json:"conflicts"`
	Space     []jsonSpace      `json:"space"`
	Pruned    []jsonPlanPruned `json:"pruned"`
	Notes     []string         `json:"notes"`
}

type jsonProblem struct {
	Event   string `json:"event"`
	Code    int    `json:"code"`
	Script  string `json:"script,omitempty"`
	Unless  string `json:"unless,omitempty"`
	Early   bool   `json:"early"`
	Message string `json:"message"`
}

type jsonForecast struct {
	Event      string        `json:"event"`
	ScriptsOf  string        `json:"scripts_of,omitempty"`
	Deployment string        `json:"deployment,omitempty"`
	Nothing    string        `json:"nothing,omitempty"`
	TimeoutS   int64         `json:"timeout_s"`
	Scripts    []jsonPlanned `json:"scripts"`
}

type jsonPlanned struct {
	Location string `json:"location"`
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	RunAs    string `json:"run_as,omitempty"`
	Sudo     bool   `json:"sudo"`
	TimeoutS int64  `json:"timeout_s"`
	Skipped  bool   `json:"skipped"`
	Problem  string `json:"problem,omitempty"`
}

type jsonChange struct {
	Change string     `json:"change"` // add, replace, adjust, remove, keep, same
	Path   string     `json:"path"`
	Bytes  int64      `json:"bytes"` // that are written
	Before *jsonState `json:"before,omitempty"`
	After  *jsonState `json:"after,omitempty"`
	Ours   bool       `json:"ours"`
	Aside  bool       `json:"aside"`
}

type jsonState struct {
	Type    string `json:"type"` // file, directory, link, other
	Mode    string `json:"mode,omitempty"`
	UID     uint32 `json:"uid"`
	GID     uint32 `json:"gid"`
	Link    string `json:"link,omitempty"`
	List    string `json:"acl,omitempty"`
	Context string `json:"context,omitempty"`
}

type jsonConflict struct {
	Path string `json:"path"`
	Why  string `json:"why"`
	Who  string `json:"owner,omitempty"`
}

type jsonSpace struct {
	Path       string `json:"path"`
	NeedBytes  int64  `json:"need_bytes"`
	FreeBytes  int64  `json:"free_bytes"`
	NeedInodes int64  `json:"need_inodes"`
	FreeInodes int64  `json:"free_inodes"` // negative where they are not counted
}

type jsonPlanPruned struct {
	Deployment string `json:"deployment"`
	Why        string `json:"why"`
}

func (o *planned) asJSON() *jsonPlan {
	p := o.preview
	j := &jsonPlan{
		Bundle: o.bundle, Group: p.Deployment.GroupID, GroupName: p.Deployment.GroupName, Kind: o.kind.Name, Succeeds: len(p.Problems) == 0,
		Problems: []jsonProblem{}, Changes: o.changes, Conflicts: []jsonConflict{}, Space: []jsonSpace{}, Pruned: []jsonPlanPruned{}, Notes: []string{},
		Counts: o.counts,
	}
	for _, q := range p.Problems {
		j.Problems = append(j.Problems, jsonProblem{string(q.Event), int(q.Code), q.Script, q.Unless, q.Early, o.plain(q.Err.Error())})
	}
	for i := range p.Events {
		j.Events = append(j.Events, o.forecastJSON(&p.Events[i]))
	}
	for _, c := range p.Conflicts {
		j.Conflicts = append(j.Conflicts, jsonConflict{o.plain(c.Path), o.plain(c.Why), c.Who})
	}
	spaces := p.Short
	if p.Plan != nil {
		spaces = p.Plan.Spaces()
	}
	for _, s := range spaces {
		j.Space = append(j.Space, jsonSpace{s.Path, s.NeedBytes, s.FreeBytes, s.NeedInodes, s.FreeInodes})
	}
	for _, g := range p.Pruned {
		j.Pruned = append(j.Pruned, jsonPlanPruned{g.Deployment, g.Why})
	}
	for _, note := range p.Notes {
		j.Notes = append(j.Notes, o.plain(note))
	}
	return j
}

func changeJSON(c *install.Change) jsonChange {
	return jsonChange{markWords[markOf(c)], c.Path, c.Bytes, stateJSON(c.Before, false), stateJSON(c.After, c.Passed), c.Ours, c.Aside}
}

func (o *planned) forecastJSON(f *lifecycle.Forecast) jsonForecast {
	j := jsonForecast{
		Event: string(f.Event), ScriptsOf: f.Whose, Deployment: f.Of, Nothing: f.Nothing, TimeoutS: int64(f.Timeouts / time.Second), Scripts: []jsonPlanned{},
	}
	for i := range f.Scripts {
		s := &f.Scripts[i]
		one := jsonPlanned{
			Location: s.Location, Line: s.LocationPos.Line, Column: s.LocationPos.Col, RunAs: s.RunAs, Sudo: s.Sudo,
			TimeoutS: int64(s.Timeout / time.Second), Skipped: s.Skipped,
		}
		if s.Err != nil {
			one.Problem = o.plain(s.Err.Error())
		}
		j.Scripts = append(j.Scripts, one)
	}
	return j
}

// stateJSON is nil for nothing. passed leaves out the mode, which a list of the folder decides.
func stateJSON(s install.State, passed bool) *jsonState {
	if s.Mode == 0 {
		return nil
	}
	j := &jsonState{UID: s.UID, GID: s.GID, Link: s.Link, List: s.List, Context: s.Context}
	if !passed && !s.IsLink() {
		j.Mode = fmt.Sprintf("%04o", s.Mode&0o7777)
	}
	switch {
	case s.IsDir():
		j.Type = "directory"
	case s.IsLink():
		j.Type = "link"
	case s.IsFile():
		j.Type = "file"
	default:
		j.Type = "other"
	}
	return j
}
