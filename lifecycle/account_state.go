package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Complete reports whether a deployment has come to its end: the service's ends with ValidateService or what follows it, a local one
// that only brings files back with Install.
func (p *Past) Complete() bool {
	if p.Ended || len(p.Events) == 0 {
		return p.Ended
	}
	began, last := p.Events[0].Event, p.Events[len(p.Events)-1].Event
	switch last {
	case ValidateService, BeforeAllowTraffic, AfterAllowTraffic:
		return true
	case Install:
		return p.Local && began == DownloadBundle
	}
	return false
}

// outcome says what became of the deployment, and what it has left of the host.
func (t *telling) outcome() {
	a, p := t.a, t.p
	switch {
	case t.o.InHand != "":
		a.Outcome = OutcomeInHand
		a.State = fmt.Sprintf("%s is being carried out", t.o.InHand)
	case p.Foreign, len(p.Events) == 0:
		a.Outcome = OutcomeForeign
		a.State = "what became of its events is not on disk"
	case p.Failed() != nil:
		a.Outcome = OutcomeFailed
	case p.Complete():
		a.Outcome = OutcomeSucceeded
	default:
		a.Outcome = OutcomeIncomplete
		a.State = "its last event is " + string(p.Events[len(p.Events)-1].Event)
	}
	a.State = strings.TrimPrefix(a.State+", and "+t.left(), ", and ")
}

// left is what there is of the files of the group.
func (t *telling) left() string {
	p, a := t.p, t.a
	_, did := installed(p)
	now := slices.IndexFunc(t.past, func(o *Past) bool { return o.Group == p.Group && o.Installed })
	var text string
	switch {
	case p.Installed:
		text = fmt.Sprintf("the files of %s are installed", p.Deployment)
	case did:
		text = fmt.Sprintf("the files of %s were installed", p.Deployment)
		if now >= 0 {
			text += fmt.Sprintf(", and since then those of %s are", t.past[now].Deployment)
		}
	case p.Foreign && now >= 0:
		text = fmt.Sprintf("the files of %s are installed", t.past[now].Deployment)
	case p.Foreign:
		text = "no files are known to be installed"
	case t.before != nil && now >= 0 && t.past[now] == t.before:
		text = fmt.Sprintf("the files of %s are still installed", t.before.Deployment)
	case t.before != nil:
		text = fmt.Sprintf("the files of %s were left as they were", t.before.Deployment)
	default:
		text = "no files were installed"
	}
	if a.Outcome == OutcomeFailed {
		for i := len(a.Events) - 1; i >= 0; i-- {
			if len(a.Events[i].Scripts) > 0 {
				return text + fmt.Sprintf(", and scripts have run, %s last", a.Events[i].Event)
			}
		}
	}
	return text
}

// changes tells what Install has changed, where it is recorded.
func (t *telling) changes() {
	a, p := t.a, t.p
	c, err := readChanges(t.root.changesFile(p.Group, p.Deployment))
	if err == nil && (c.Group != p.Group || c.Deployment != p.Deployment) {
		err = fmt.Errorf("it is that of deployment %s of group %s", c.Deployment, c.Group)
	}
	switch _, did := installed(p); {
	case err == nil:
		a.FilesRecorded, a.FilesOmitted = true, max(c.Omitted, 0)
		for _, f := range c.Files {
			if f != nil {
				a.Files = append(a.Files, *f)
			}
		}
		if c.Note != "" {
			a.Notes = append(a.Notes, c.Note)
		}
	case !errors.Is(err, fs.ErrNotExist):
		a.Notes = append(a.Notes, fmt.Sprintf("what Install changed cannot be told: %v", err))
	case did:
		a.Notes = append(a.Notes, "what Install changed is not recorded, or not any more")
	}
}
