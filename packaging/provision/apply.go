package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// work is a profile on a host: the parts in their order, and the transaction.
type work struct {
	*Host
	profile *Profile
	choice  *choice
	journal *journal
	parts   []part
}

// Plan compares a host with the profile. It changes nothing. What a package will bring when it is installed is expected to be as the
// table of the platform has it.
func (p *Profile) Plan(ctx context.Context, h *Host) ([]Change, error) {
	w, err := p.compare(ctx, h)
	if err != nil {
		return nil, err
	}
	return w.plan(ctx)
}

// Notes tells what a profile asks for and an image cannot have: what has to wait for the host that is made from it.
func (p *Profile) Notes(h *Host) []string {
	if h.systemd {
		return nil
	}
	notes := []string{"no systemd runs here: services are enabled and not started"}
	if p.database.served() {
		notes = append(notes, "the database "+p.database.name+" is left to the first apply on a host that runs")
	}
	return notes
}

// An Outcome is what Apply came to.
type Outcome struct {
	Done    []Change // made and found as wanted afterwards
	Failed  []Change // what it stopped at; none when all went well or when nothing had begun
	Undone  []Change // those of Done that were put back
	NotDone []Change // what was planned and not begun
}

// Apply makes a host what the profile says, and stops at the first failure: the error says at what, and the outcome what was done before.
// Nothing is changed when the plan cannot be made. done is told of each change that was made; nil is nobody.
func (p *Profile) Apply(ctx context.Context, h *Host, done func(Change)) (Outcome, error) {
	if os.Geteuid() != 0 {
		return Outcome{}, errors.New("apply installs packages and writes below /etc: run it as root")
	}
	release, err := h.lock()
	if err != nil {
		return Outcome{}, err
	}
	defer release()
	if err := h.releaseServices(); err != nil {
		return Outcome{}, err
	}
	w, err := p.compare(ctx, h)
	if err != nil {
		return Outcome{}, err
	}
	planned, err := w.plan(ctx)
	if err != nil {
		return Outcome{}, fmt.Errorf("%w\nnothing was changed", err)
	}
	if done == nil {
		done = func(Change) {}
	}
	var o Outcome
	err = w.walk(ctx, &o, done)
	if err != nil {
		for _, c := range planned {
			same := func(d Change) bool { return d.Kind == c.Kind && d.Target == c.Target && d.Action == c.Action }
			if !slices.ContainsFunc(o.Done, same) && !slices.ContainsFunc(o.Failed, same) {
				o.NotDone = append(o.NotDone, c)
			}
		}
	}
	return o, err
}

// compare reads what the profile needs besides the host, and builds the parts.
func (p *Profile) compare(ctx context.Context, h *Host) (*work, error) {
	c, err := p.on(h.platform)
	if err != nil {
		return nil, err
	}
	w := &work{Host: h, profile: p, choice: c}
	if w.journal, err = openJournal(h); err != nil {
		return nil, err
	}
	return w, w.build(ctx)
}

// build makes the parts anew: what is pending depends on what is installed by now.
func (w *work) build(ctx context.Context) error {
	p, c := w.profile, w.choice
	list := &packages{c.packageList(p)}
	missing, err := list.missing(ctx, w.Host)
	if err != nil {
		return err
	}
	fresh := len(missing) > 0
	w.parts = nil
	add := func(r resource) { w.parts = append(w.parts, part{resource: r}) }
	if c.source.kind != "" && fresh {
		add(&extras{c.source.kind, c.all(w.topics())})
	}
	w.parts = append(w.parts, part{resource: list, reloads: []string{w.phpUnit()}})
	if p.timezone != "" {
		add(&zone{p.timezone, slices.Contains(missing, "tzdata")})
	}
	for _, d := range p.directories {
		owner, group := d.owner, d.group
		if owner == webUser {
			owner = c.web.user
		}
		if group == webGroup {
			group = c.web.group
		}
		add(&folder{d.path, owner, group, d.mode, fresh})
	}
	if err := w.addDatabase(fresh); err != nil {
		return err
	}
	w.parts = append(w.parts, p.siteParts(c, slices.Contains(missing, c.of(c.packages["httpd"])))...)
	w.addServices(fresh)
	return nil
}

// topics are the sources that this profile needs.
func (w *work) topics() []string {
	return slices.DeleteFunc(slices.Clone(w.choice.source.topics), func(t string) bool {
		return strings.HasPrefix(t, "mariadb") && !w.profile.database.served()
	})
}

// phpUnit is the unit that runs PHP.
func (w *work) phpUnit() string {
	if w.choice.handler == handlerFPM {
		return w.choice.of(w.choice.fpm.unit)
	}
	return w.choice.web.unit
}

func (w *work) addDatabase(fresh bool) error {
	p, c := w.profile, w.choice
	d := &p.database
	schema, tables, indexes, err := d.schemaText()
	if err != nil {
		return err
	}
	password := ""
	switch {
	case d.kind == databaseSQLite:
		s := &sqlite{file: d.file, schema: schema, objects: append(tables, indexes...), user: c.web.user, group: c.web.group, pending: fresh}
		w.parts = append(w.parts, part{resource: s})
	case d.served():
		if password, err = d.password(w.Host); err != nil {
			return err
		}
		unit := ""
		if d.local() {
			unit = c.database
			w.parts = append(w.parts, part{resource: &service{unit: c.database, pending: fresh}})
		}
		if w.systemd {
			w.parts = append(w.parts, part{resource: &served{d, password, schema, tables, fresh, unit}})
		}
	}
	if p.environment.file != "" {
		f := &file{path: p.environment.file, mode: secretMode, content: setLines(p.settings(password)), hide: hideSecrets}
		w.parts = append(w.parts, part{resource: f})
	}
	return nil
}

func (w *work) addServices(fresh bool) {
	p, c := w.profile, w.choice
	add := func(s *service) { w.parts = append(w.parts, part{resource: s}) }
	stale := func(unit string) func(*Host) bool { return func(*Host) bool { return w.journal.stale(unit) } }
	if c.handler == handlerFPM {
		unit := c.of(c.fpm.unit)
		add(&service{unit: unit, pending: fresh, stale: stale(unit)})
	}
	add(&service{unit: c.web.unit, pending: fresh, stale: stale(c.web.unit), before: func(*Host) error { return portFree(p.web.port, c.web.unit) }})
	for _, unit := range p.services {
		if !strings.Contains(unit, ".") {
			unit += ".service"
		}
		add(&service{unit: unit, pending: fresh})
	}
}

func (w *work) plan(ctx context.Context) ([]Change, error) {
	// A port that somebody else has would make the installation of the web server fail half-way. In an image nobody listens.
	if w.root == "/" && w.systemd {
		if err := portFree(w.profile.web.port, w.choice.web.unit); err != nil {
			return nil, err
		}
	}
	var changes []Change
	will := map[string]bool{} // units that have to read what will have changed
	for _, part := range w.parts {
		found, err := part.check(ctx, w.Host)
		if err != nil {
			return nil, err
		}
		if len(found) > 0 {
			for _, u := range part.reloads {
				will[u] = true
			}
		}
		if s, ok := part.resource.(*service); ok && will[s.unit] && w.systemd && !slices.ContainsFunc(found, isBegin) {
			found = append(found, property("service", s.unit, actionReload, "active, with the configuration of before", "active, with this configuration"))
		}
		changes = append(changes, found...)
	}
	return changes, nil
}

func isBegin(c Change) bool { return c.Action == actionStart || c.Action == actionReload }

// walk checks each part again when its turn comes, changes it, and looks whether it is as wanted.
func (w *work) walk(ctx context.Context, o *Outcome, done func(Change)) error {
	tested := false
	for i := 0; i < len(w.parts); i++ {
		part := w.parts[i]
		if _, isService := part.resource.(*service); isService && i >= w.firstOfServers() && !tested {
			tested = true
			if err := w.test(ctx); err != nil {
				return w.undo(o, err)
			}
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("interrupted: %w", context.Cause(ctx))
		}
		found, err := part.check(ctx, w.Host)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			continue
		}
		if err := w.change(ctx, part, len(found)); err != nil {
			o.Failed = found
			if !isPackages(part) { // whose error names all of them
				err = fmt.Errorf("%s: %w", found[len(found)-1], err)
			}
			if s, ok := part.resource.(*service); ok && found[0].Action == actionReload {
				return w.undoServing(ctx, o, s, err)
			}
			return err
		}
		for _, c := range found {
			o.Done = append(o.Done, c)
			done(c)
		}
		if _, installed := part.resource.(*packages); installed {
			// From here on nothing is pending, and what the packages brought counts.
			if err := w.build(ctx); err != nil {
				return err
			}
			i = slices.IndexFunc(w.parts, isPackages)
		}
	}
	return w.journal.close(w.Host)
}

func isPackages(p part) bool {
	_, is := p.resource.(*packages)
	return is
}

// firstOfServers is where the units begin that read the configuration.
func (w *work) firstOfServers() int {
	last := 0
	for i, p := range w.parts {
		if len(p.paths) > 0 {
			last = i
		}
	}
	return last
}

// change makes one change, within the transaction if it is of the configuration, and looks at what came of it.
func (w *work) change(ctx context.Context, p part, found int) error {
	for _, name := range p.paths {
		if err := w.journal.record(w.Host, name, p.reloads); err != nil {
			return err
		}
	}
	if len(p.paths) == 0 && len(p.reloads) > 0 {
		if err := w.journal.need(w.Host, p.reloads); err != nil {
			return err
		}
	}
	if err := p.apply(ctx, w.Host); err != nil {
		if left, unknown := p.check(ctx, w.Host); isPackages(p) && unknown == nil && len(left) == found {
			w.journal.Units = nil // nothing was installed, so nothing has to be read again
			err = errors.Join(err, w.journal.save(w.Host))
		}
		return err
	}
	if s, ok := p.resource.(*service); ok {
		if err := w.journal.read(w.Host, s.unit); err != nil {
			return err
		}
	}
	left, err := p.check(ctx, w.Host)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("it was done, and is not so:\n%s", left[0].Diff)
	}
	return err
}

// test lets the programs that will read the configuration judge it.
func (w *work) test(ctx context.Context) error {
	if len(w.journal.Entries) == 0 {
		return nil
	}
	c := w.choice
	tests := [][]string{{"php", "-r", ""}, c.all(c.web.test)}
	if c.handler == handlerFPM {
		tests = append(tests, c.all(c.fpm.test))
	}
	for _, argv := range tests {
		w.say("testing the configuration: " + strings.TrimSpace(strings.Join(argv, " ")))
		r, err := w.run(ctx, command{argv: argv})
		if err != nil {
			return err
		}
		// PHP goes on without a file that it cannot read.
		if r.code != 0 || argv[0] == "php" && (strings.Contains(r.all, "syntax error") || strings.Contains(r.all, "Invalid date.timezone")) {
			return fmt.Errorf("%s finds the configuration wrong:%s", strings.Join(argv, " "), lastLines(r.all))
		}
	}
	return nil
}

// undo puts the configuration back before any unit has read it.
func (w *work) undo(o *Outcome, why error) error {
	var names []string
	for _, e := range w.journal.Entries {
		names = append(names, e.Path)
	}
	for _, c := range o.Done {
		if slices.Contains(names, c.Target) {
			o.Undone = append(o.Undone, c)
		}
	}
	if err := w.journal.restore(w.Host); err != nil {
		return fmt.Errorf("%w\nand the configuration could not be put back: %w", why, err)
	}
	return fmt.Errorf("%w\nthe configuration is as it was before (%s put back), and no service was touched", why, counted(len(names), "file"))
}

// undoServing puts the configuration back after a unit could not use it, and has it and those that had read it serve the old one.
func (w *work) undoServing(ctx context.Context, o *Outcome, s *service, why error) error {
	if len(w.journal.Entries) == 0 {
		return why
	}
	units := append(slices.Clone(w.journal.Read), s.unit)
	if err := w.undo(o, why); len(w.journal.Entries) > 0 {
		return err // it could not be put back
	}
	for _, unit := range units {
		if err := w.systemctl(ctx, "restart", unit); err != nil {
			return fmt.Errorf("%w\nthe configuration was put back, and then %w", why, err)
		}
	}
	return fmt.Errorf("%w\nthe configuration was put back, and %s runs with it", why, strings.Join(units, " and "))
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
