package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"slipway/lifecycle/install"
)

// ErrInHand says that a command of the group is being carried out, or waits for the next start of the agent.
var ErrInHand = errors.New("a command of the deployment group is in hand")

// handPatience is how long a command of an operator waits for a group that only seems to be in hand: somebody may be looking at it.
const handPatience = 200 * time.Millisecond

// idle takes the lock of a group that has nothing in hand; ErrInHand if it has.
func (e *Engine) idle(ctx context.Context, group string) (unlock func(), err error) {
	if err := confined("deployment group", group); err != nil {
		return nil, err
	}
	if e.opts.ReadOnly {
		return nil, errReadOnly
	}
	brief, cancel := context.WithTimeout(ctx, handPatience)
	defer cancel()
	unlock, err = e.group(group).lock(brief, nil)
	switch {
	case err != nil && ctx.Err() == nil && brief.Err() != nil:
		return nil, fmt.Errorf("%w: try again when it has ended (slipway status)", ErrInHand)
	case err != nil:
		return nil, err
	}
	if t := e.tickets.unfinished(group); t != nil {
		unlock()
		return nil, fmt.Errorf("%w: %s of %s, which goes on when the agent is started again", ErrInHand, t.Event, t.deployment.ID)
	}
	return unlock, nil
}

// unfinished finds a command of a group, or of any where it is "", that was accepted and has no result. It changes nothing: the tickets are the daemon's.
func (ts *tickets) unfinished(group string) *Ticket {
	names, err := filepath.Glob(ts.root.own("tickets", "*.json"))
	if err != nil {
		return nil
	}
	for _, name := range names {
		t, err := ts.read(name)
		if err == nil && (group == "" || t.deployment.GroupID == group) && (t.State == Accepted || t.State == Running) && time.Since(t.Received) < ticketLife {
			return t
		}
	}
	return nil
}

// Adopt makes a group the owner of the files of one of its deployments that are on the host already, which were installed before the
// deployment root, or a part of it, was lost. Nothing of the files changes; the group's pointer then names the deployment. The plan is
// returned, and with dry it is not carried out. A group in hand is ErrInHand.
func (e *Engine) Adopt(ctx context.Context, group, deployment string, dry bool) (*install.Plan, error) {
	if err := confined("deployment", deployment); err != nil {
		return nil, err
	}
	unlock, err := e.idle(ctx, group)
	if err != nil {
		return nil, err
	}
	defer unlock()
	d := &Deployment{ID: deployment, GroupID: group, AppSpecFilename: defaultAppSpec, FileExistsBehavior: defaultBehavior}
	past, err := History(e.root.path)
	if err != nil {
		return nil, err
	}
	for _, p := range past {
		if p.Group == group && p.Deployment == deployment {
			d.Undoes, d.ReuseFrom, d.AppSpecFilename = p.Undoes, p.BroughtBack(), p.appSpec()
		}
	}
	archive := e.root.archive(d)
	if !isDir(archive) {
		return nil, fmt.Errorf("what deployment %s of group %s has installed is not known: %s is not there", deployment, group, archive)
	}
	spec, err := readSpec(archive, d.AppSpecFilename)
	if err != nil {
		return nil, err
	}
	request := e.request(d, spec, archive)
	request.Adopt = true
	plan, free, err := plan(ctx, request)
	if err != nil {
		return nil, err
	}
	defer free()
	if dry {
		return plan, nil
	}
	return plan, e.adopt(ctx, d, plan)
}

func (e *Engine) adopt(ctx context.Context, d *Deployment, plan *install.Plan) error {
	if err := e.root.mkdir(instructionsFolder); err != nil {
		return err
	}
	if _, err := plan.Apply(ctx); err != nil {
		return err
	}
	if err := e.root.writePointer(d.GroupID, lastSuccessful, d.ID); err != nil {
		return err
	}
	return e.diverge(d, "")
}

// appSpec is the name of the appspec of a deployment.
func (p *Past) appSpec() string {
	if n := len(p.Events); n > 0 && p.Events[n-1].AppSpec != "" {
		return p.Events[n-1].AppSpec
	}
	return defaultAppSpec
}

// behavior is what the deployment did with files that were there and nobody's. That of a local undo is that of the deployment it brought back.
func (p *Past) behavior() string {
	if n := len(p.Events); n > 0 {
		return cmp.Or(p.Events[n-1].Behavior, defaultBehavior)
	}
	return defaultBehavior
}

// Forget makes a group give up what it has installed: the files stay, and belong to nobody. What says otherwise goes: the lists of what was
// installed, and which deployment was. It returns the names of the files that went. A group that has nothing is fs.ErrNotExist, one in
// hand ErrInHand.
func (e *Engine) Forget(ctx context.Context, group string) (gone []string, err error) {
	unlock, err := e.idle(ctx, group)
	if err != nil {
		return nil, err
	}
	defer unlock()
	lists := []string{e.root.own("install", group+".manifest"), e.root.instructions(group + "-cleanup"), e.root.instructions(group + "-install.json")}
	pointers := []string{e.root.pointer(group, lastSuccessful), e.root.pointer(group, mostRecent), e.root.divergedFile(group)}
	var there []string
	for _, name := range append(lists, pointers...) {
		if exists(name) {
			there = append(there, name)
		}
	}
	if len(there) == 0 {
		return nil, fmt.Errorf("group %s has nothing installed as far as %s says: %w", group, e.root.path, fs.ErrNotExist)
	}
	changes := e.root.own("changes", group)
	if exists(changes) {
		there = append(there, changes)
	}
	err = install.Forget(ctx, e.root.path, group)
	if errors.Is(err, fs.ErrNotExist) { // the pointers are left, of an earlier attempt
		err = nil
	}
	for _, name := range pointers {
		if err != nil {
			break
		}
		if err = os.Remove(name); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = os.RemoveAll(changes)
	}
	for _, name := range there {
		if !exists(name) {
			gone = append(gone, name)
		}
	}
	if err != nil {
		return gone, fmt.Errorf("%d of %d files went, call it again for the rest: %w", len(gone), len(there), err)
	}
	return gone, nil
}

// Unfinished tells a command that was accepted and has no result yet, or an installation that is neither finished nor undone; "" if there is none.
func (e *Engine) Unfinished() string {
	t := e.tickets.unfinished("")
	if t == nil {
		return e.unsettled()
	}
	return fmt.Sprintf("%s of %s", t.Event, t.deployment.ID)
}

func (e *Engine) unsettled() string {
	names := install.Unsettled(e.root.path)
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("an installation is neither finished nor undone (%s; the log of the agent's start says why)", strings.Join(names, ", "))
}
