package main

import (
	"fmt"
	"sync"
	"time"

	"slipway/agent"
	"slipway/agent/health"
	"slipway/lifecycle"
)

// pageDeployments is how many deployments the status page shows.
const pageDeployments = 8

// pageAge is how long what the page shows of the disk may be used again, so that nobody makes this host read its history all the time.
const pageAge = time.Second

// statusPage collects what the status page shows.
type statusPage struct {
	d *daemon

	mu   sync.Mutex // guards what follows
	last health.Page
	at   time.Time
}

func (s *statusPage) page() health.Page {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.at) > pageAge {
		s.last, s.at = s.d.page(), time.Now()
	}
	return s.last
}

func (d *daemon) page() health.Page {
	p := health.Page{Version: buildVersion(), Link: string(agent.Connecting), Started: d.started, LinkSince: d.started}
	var inHand []agent.InHand
	if a := d.agent.Load(); a != nil {
		s := a.Status()
		p.Host, p.Started, p.Link, p.LinkGood, p.LinkText, p.LinkSince = s.HostID, s.Started, string(s.Link), s.Link == agent.Online, s.LinkText, s.Since
		inHand = s.InHand
	} else {
		p.LinkText = "it is not known yet who this host is"
	}
	k, err := readKnown(d.cfg.RootDir)
	if err != nil {
		p.Problem = "the deployments of this host cannot be read: " + err.Error()
		return p
	}
	for _, past := range k.past {
		if past.Installed {
			p.Live = append(p.Live, k.pageLive(past))
		}
	}
	shown := map[string]bool{}
	for _, past := range k.past[:min(pageDeployments, len(k.past))] {
		shown[past.Deployment] = true
		p.Deployments = append(p.Deployments, k.pageDeployment(past, inHand))
	}
	for _, h := range inHand { // one whose first event has not ended is in no history yet
		if h.Deployment != "" && !shown[h.Deployment] && h.Event != "" {
			shown[h.Deployment] = true
			first := health.PageDeployment{ID: h.Deployment, Outcome: health.OutcomeRunning, Began: h.Since}
			first.Events = append(first.Events, goesOn(h))
			p.Deployments = append([]health.PageDeployment{first}, p.Deployments...)
		}
	}
	return p
}

func (k *known) pageLive(past *lifecycle.Past) health.PageLive {
	l := health.PageLive{Group: k.full(past.Group), Revision: k.revision(past), Deployment: past.Deployment}
	for _, e := range past.Events {
		if e.Event == lifecycle.Install && e.Code == lifecycle.Succeeded {
			l.Since = e.At
		}
	}
	if diverged, ok := k.diverged[past.Group]; ok {
		j := k.divergenceJSON(past.Group, diverged)
		l.Diverged = "diverged from the record of the service " + j.text()
	}
	return l
}

func (k *known) pageDeployment(past *lifecycle.Past, inHand []agent.InHand) health.PageDeployment {
	d := health.PageDeployment{
		ID: past.Deployment, Group: k.name(past.Group), Revision: k.revision(past), Installed: past.Installed, Began: past.First, Ended: past.Last,
	}
	if to := past.BroughtBack(); to != "" {
		d.Note = fmt.Sprintf("undo of %s, back to %s", past.Undoes, to)
	}
	for _, e := range past.Events {
		outcome, text := health.OutcomeSucceeded, e.Log
		if e.Code != lifecycle.Succeeded {
			outcome, text = health.OutcomeFailed, fmt.Sprintf("code %d: %s", e.Code, e.Message)
			if e.Log != "" {
				text += "\n" + e.Log
			}
		}
		d.Events = append(d.Events, health.PageEvent{Name: string(e.Event), Outcome: outcome, Began: e.At.Add(-e.Took), Took: e.Took, Text: text})
	}
	switch word, _ := k.outcome(past); word {
	case outcomeSucceeded:
		d.Outcome = health.OutcomeSucceeded
	case outcomeFailed:
		d.Outcome = health.OutcomeFailed
	case outcomeForeign:
		d.Outcome = health.OutcomeForeign
	default:
		d.Outcome = health.OutcomeIncomplete
		if time.Since(past.Last) < betweenEvents {
			d.Outcome, d.Ended = health.OutcomeRunning, time.Time{}
		}
	}
	for _, h := range inHand {
		if h.Deployment != past.Deployment || h.Event == "" {
			continue
		}
		d.Outcome, d.Ended = health.OutcomeRunning, time.Time{}
		if n := len(d.Events); !h.Reporting || n == 0 || d.Events[n-1].Name != string(h.Event) {
			d.Events = append(d.Events, goesOn(h))
		}
	}
	return d
}

// betweenEvents is how long after an event that was not the last one a deployment still counts as going on: other hosts have their turn, and
// the service its pauses.
const betweenEvents = 2 * time.Minute

func goesOn(h agent.InHand) health.PageEvent {
	return health.PageEvent{Name: string(h.Event), Outcome: health.OutcomeRunning, Began: h.Since, Took: time.Since(h.Since)}
}
