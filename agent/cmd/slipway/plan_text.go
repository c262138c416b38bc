package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"slipway/lifecycle"
	"slipway/lifecycle/install"
)

// planCounts is how much a plan changes: files, links and folders.
type planCounts struct {
	Added      int   `json:"added"`
	Replaced   int   `json:"replaced"`
	Adjusted   int   `json:"adjusted"`  // the same content, another mode, owner or list
	Rewritten  int   `json:"rewritten"` // the same in all but time, and written anew
	Same       int   `json:"same"`
	Kept       int   `json:"kept"`
	Removed    int   `json:"removed"`
	KeptAside  int   `json:"kept_aside"`
	BytesAdded int64 `json:"bytes_written"`
}

// changes reports whether something of the host would be other than it is.
func (n *planCounts) changes() bool { return n.Added+n.Replaced+n.Adjusted+n.Removed > 0 }

// markOf is the mark of a change. Who is not root does not see whose the files would be.
func markOf(c *install.Change) mark {
	switch c.Kind {
	case install.Added:
		return markAdd
	case install.Replaced:
		return markReplace
	case install.Gone:
		return markRemove
	case install.Kept:
		return markKeep
	}
	if adjusts(c) {
		return markAdjust
	}
	return markSame
}

// adjusts reports whether mode, owner or list become others.
func adjusts(c *install.Change) bool {
	before, after := c.Before, c.After
	if os.Geteuid() != 0 { // the agent is root, and its files are others
		before.UID, before.GID = after.UID, after.GID
	}
	if c.Passed {
		before.Mode = after.Mode
	}
	return before.Mode != 0 && before.Attributes(after)
}

// count enters a change.
func (n *planCounts) count(c *install.Change) {
	switch m := markOf(c); {
	case m == markAdd:
		n.Added++
	case m == markReplace:
		n.Replaced++
	case m == markAdjust:
		n.Adjusted++
	case m == markRemove:
		n.Removed++
	case m == markKeep:
		n.Kept++
	case c.Kind == install.Rewritten:
		n.Rewritten++
	default:
		n.Same++
	}
	if c.Aside {
		n.KeptAside++
	}
	n.BytesAdded += c.Bytes
}

// total is how many paths there are.
func (n *planCounts) total() int {
	return n.Added + n.Replaced + n.Adjusted + n.Removed + n.Kept + n.Rewritten + n.Same
}

// String says in one line what Install does.
func (n planCounts) String() string {
	var parts []string
	for _, e := range []struct {
		n    int
		text string
	}{
		{n.Added, "added"},
		{n.Replaced, "replaced"},
		{n.Adjusted, "with another mode or owner"},
		{n.Removed, "removed"},
		{n.Kept, "kept as found"},
		{n.KeptAside, "changed on this host and kept aside"},
		{n.Same + n.Rewritten, "the same"},
	} {
		if e.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", e.n, e.text))
		}
	}
	if len(parts) == 0 {
		return "nothing to install"
	}
	return strings.Join(parts, ", ")
}

// write tells the plan to a person: first what would come of it, then why and how.
func (o *planned) write(out io.Writer) error {
	p := o.preview
	fmt.Fprintf(out, "%s\n  for group %s, %s\n", printable(o.bundle), printable(o.group), o.kind.Title)
	o.writeVerdict(out)
	fmt.Fprintln(out, "\nevents")
	for i := range p.Events {
		o.writeForecast(out, &p.Events[i])
	}
	if n := o.counts.total(); n > 0 {
		fmt.Fprintln(out, "\nfiles")
		if !o.tree.write(out) {
			fmt.Fprintf(out, "  all %d are as they would be\n", n)
		}
	}
	if o.options.verbose && len(p.Conflicts) > 0 {
		fmt.Fprintln(out, "\nconflicts")
		for _, c := range p.Conflicts {
			fmt.Fprintf(out, "  %s\n", printable(o.plain(c.String())))
		}
	}
	o.writeSpace(out)
	if len(p.Notes) > 0 {
		fmt.Fprintln(out, "\nto know")
		for _, note := range p.Notes {
			fmt.Fprintf(out, "  %s\n", printable(o.plain(note)))
		}
	}
	return nil
}

// plain names what is in the copy of the bundle by its place in the bundle.
func (o *planned) plain(text string) string {
	if o.preview.Archive == "" {
		return text
	}
	return strings.ReplaceAll(text, o.preview.Archive+"/", "")
}

func (o *planned) writeVerdict(out io.Writer) {
	problems := o.preview.Problems
	if len(problems) == 0 {
		fmt.Fprintln(out, "\nwould succeed, unless a script fails")
		return
	}
	for i := range problems {
		also := ""
		if i > 0 {
			also = "also "
		}
		fmt.Fprintf(out, "\n%s%s\n", also, printableText(verdict(&problems[i])))
		writeIndented(out, o.plain(problems[i].Err.Error()))
	}
}

// verdict is where a deployment would end, in a line.
func verdict(q *lifecycle.Problem) string {
	text := fmt.Sprintf("would fail at %s with code %d", q.Event, q.Code)
	switch {
	case q.Unless != "":
		text += fmt.Sprintf(", unless %s, which runs before, sees to it", q.Unless)
	case q.Early:
		text += ", before anything is touched"
	}
	return text + ":"
}

func (o *planned) writeForecast(out io.Writer, f *lifecycle.Forecast) {
	var text string
	switch {
	case f.Event == lifecycle.DownloadBundle:
		text = "the bundle comes to this host"
		if n := len(o.preview.Pruned); n > 0 {
			var names []string
			for _, gone := range o.preview.Pruned {
				names = append(names, gone.Deployment)
			}
			text += ", old deployments go: " + strings.Join(names, ", ")
		}
	case f.Event == lifecycle.Install && o.preview.Plan == nil:
		text = "cannot be planned"
	case f.Event == lifecycle.Install:
		text = o.counts.String()
		if o.preview.Plan.Replaces() {
			text += "; the old revision is removed first, which cannot be undone"
		}
	case f.Nothing != "":
		text = f.Nothing
	default:
		text = f.Whose
		if f.Of != "" {
			text += ", " + f.Of
		}
		text += ", up to " + spanText(f.Timeouts)
	}
	fmt.Fprintf(out, "  %-18s  %s\n", f.Event, printable(text))
	for i := range f.Scripts {
		s := &f.Scripts[i]
		fmt.Fprintf(out, "    %s  as %s, up to %s%s\n", printable(s.Location), printable(runsAs(s)), spanText(s.Timeout), scriptNote(s))
	}
}

// runsAs is the user of a script.
func runsAs(s *lifecycle.Planned) string {
	name := "the agent's user"
	if s.RunAsSet {
		name = strconv.Quote(s.RunAs)
		if s.RunAs != "" {
			name = s.RunAs
		}
	}
	if s.Sudo {
		name += " with sudo"
	}
	return name
}

func scriptNote(s *lifecycle.Planned) string {
	switch {
	case s.Skipped:
		return ": gone, and passed over"
	case s.Err != nil:
		return ": cannot be started"
	}
	return ""
}

// spanText is a time without its zeros.
func spanText(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

func (o *planned) writeSpace(out io.Writer) {
	spaces := o.preview.Short
	if o.preview.Plan != nil {
		spaces = o.preview.Plan.Spaces()
	}
	if len(spaces) == 0 {
		return
	}
	fmt.Fprintln(out, "\nspace")
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	for _, s := range spaces {
		fmt.Fprintf(w, "  %s\t%s of %s free\t%s\n", s.Path, sizeText(s.NeedBytes), sizeText(s.FreeBytes), inodesText(s))
	}
	w.Flush()
}

func inodesText(s install.Space) string {
	if s.FreeInodes < 0 {
		return fmt.Sprintf("%d inodes", s.NeedInodes)
	}
	return fmt.Sprintf("%d of %d inodes", s.NeedInodes, s.FreeInodes)
}

// attributesText says what becomes of mode, owner and list.
func attributesText(c *install.Change) string {
	if !adjusts(c) && c.Before.Mode != 0 {
		return ""
	}
	var parts []string
	b, a := c.Before, c.After
	if b.Mode == 0 {
		b = a // what is new has no before
		b.List, b.Context = "", ""
	}
	if (b.Mode^a.Mode)&0o7777 != 0 && !a.IsLink() && !c.Passed {
		parts = append(parts, fmt.Sprintf("mode %04o → %04o", b.Mode&0o7777, a.Mode&0o7777))
	}
	if os.Geteuid() == 0 && (b.UID != a.UID || b.GID != a.GID) {
		parts = append(parts, fmt.Sprintf("owner %s → %s", ownerText(b), ownerText(a)))
	}
	switch {
	case a.List != "" && a.List != b.List:
		parts = append(parts, "list "+a.List)
	case a.List == "" && b.List != "":
		parts = append(parts, "its access control list goes")
	}
	if a.Context != "" && a.Context != b.Context {
		parts = append(parts, "context "+a.Context)
	}
	return strings.Join(parts, ", ")
}

func ownerText(s install.State) string { return userText(s.UID) + ":" + groupText(s.GID) }

func userText(id uint32) string {
	text := strconv.Itoa(int(id))
	if u, err := user.LookupId(text); err == nil {
		return cmp.Or(u.Username, text)
	}
	return text
}

func groupText(id uint32) string {
	text := strconv.Itoa(int(id))
	if g, err := user.LookupGroupId(text); err == nil {
		return cmp.Or(g.Name, text)
	}
	return text
}
