package rehearse

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxCrontab is how large a crontab may be to be read, maxCronLines how many of its entries are shown.
const (
	maxCrontab   = 1 << 20
	maxCronLines = 50
)

// cronFolders are where crontabs and the scripts of cron lie, and what a file there is called in a line.
var cronFolders = []struct{ folder, what string }{
	{"/var/spool/cron/crontabs", "crontab of "}, // Debian
	{"/var/spool/cron", "crontab of "},          // Red Hat
	{"/var/spool/anacron", ""},
	{"/etc/cron.d", "/etc/cron.d/"},
	{"/etc/cron.hourly", "hourly script "},
	{"/etc/cron.daily", "daily script "},
	{"/etc/cron.weekly", "weekly script "},
	{"/etc/cron.monthly", "monthly script "},
}

// timerFolders are where units of systemd lie.
var timerFolders = []string{"/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/system"}

// Cron tells of entries of crontabs and of timers of systemd that were added, changed or removed, one line each, such as
// "crontab of deploy: added: 0 * * * * /opt/app/tick".
func (s *Scanner) Cron(ctx context.Context) ([]string, error) {
	var out []string
	err := s.eachChange(ctx, func(c found) error {
		folder, name := path.Split(c.path)
		folder = strings.TrimSuffix(folder, "/")
		switch {
		case c.path == "/etc/crontab" || c.path == "/etc/anacrontab":
			out = append(out, s.crontab(&c, c.path)...)
		case strings.HasSuffix(name, ".timer"):
			out = append(out, timer(&c, folder, name)...)
		default:
			out = append(out, s.cronFile(&c, folder, name)...)
		}
		return nil
	})
	return out, err
}

func (s *Scanner) cronFile(c *found, folder, name string) []string {
	if c.kind == removed && c.fold > 0 {
		return s.cronGone(c)
	}
	for _, f := range cronFolders {
		if folder != f.folder || f.what == "" || c.mode&unix.S_IFMT == unix.S_IFDIR {
			continue
		}
		if strings.HasSuffix(f.what, "script ") {
			return []string{f.what + clean(name) + " " + c.kind.String()}
		}
		return s.crontab(c, f.what+clean(name))
	}
	return nil
}

// cronGone tells which folders of cron have gone with a folder that is told of as a whole.
func (s *Scanner) cronGone(c *found) (out []string) {
	open := sides{s: s}
	defer open.close()
	for _, f := range cronFolders {
		if c.path == f.folder {
			return []string{fmt.Sprintf("%s removed, with %s in it", f.folder, countText(c.fold))}
		}
		if !strings.HasPrefix(f.folder, c.path+"/") {
			continue
		}
		var st unix.Stat_t
		p := s.find(f.folder)
		if fds, name := open.enter(p.layer, p.rest); fds[lower] >= 0 && lookAt(fds[lower], name, &st) == nil {
			out = append(out, f.folder+" removed, with all of "+clean(c.path))
		}
	}
	return out
}

// crontab tells which entries of a crontab have come and gone. An entry is any line but a comment: a variable is one too.
func (s *Scanner) crontab(c *found, called string) (out []string) {
	was, is, _, err := s.contents(c.path, maxCrontab)
	if err != nil {
		return []string{fmt.Sprintf("%s %s: %v", called, c.kind, err)}
	}
	gone, come := lineChanges(entries(was), entries(is))
	if len(gone)+len(come) == 0 {
		return []string{fmt.Sprintf("%s %s, with no entry of another text", called, c.kind)}
	}
	for i, line := range slices.Concat(gone, come) {
		if i == maxCronLines {
			return append(out, fmt.Sprintf("%s: %d more entries have changed", called, len(gone)+len(come)-i))
		}
		how := "added"
		if i < len(gone) {
			how = "removed"
		}
		out = append(out, fmt.Sprintf("%s: %s: %s", called, how, clean(line)))
	}
	return out
}

// entries are the lines of a crontab that mean something.
func entries(data []byte) (list []string) {
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			list = append(list, line)
		}
	}
	return list
}

// lineChanges gives the lines that only one list has, each in its order. A line that comes twice counts twice.
func lineChanges(was, is []string) (gone, come []string) {
	n := map[string]int{}
	for _, line := range is {
		n[line]++
	}
	for _, line := range was {
		if n[line]--; n[line] < 0 {
			gone = append(gone, line)
		}
	}
	clear(n)
	for _, line := range was {
		n[line]++
	}
	for _, line := range is {
		if n[line]--; n[line] < 0 {
			come = append(come, line)
		}
	}
	return gone, come
}

// timer tells of a timer of systemd, or of a link that turns one on.
func timer(c *found, folder, name string) []string {
	parent, last := path.Split(folder)
	wanted := strings.HasSuffix(last, ".wants") || strings.HasSuffix(last, ".requires")
	if wanted {
		folder = strings.TrimSuffix(parent, "/")
	}
	if !slices.Contains(timerFolders, folder) {
		return nil
	}
	how := c.kind.String()
	if wanted {
		how = cmp.Or(map[kind]string{added: "enabled", removed: "disabled"}[c.kind], how)
	}
	return []string{fmt.Sprintf("timer %s %s", clean(name), how)}
}

// countText is a number of paths that was counted up to CountMax.
func countText(n int) string {
	if n > CountMax {
		return fmt.Sprintf("more than %d paths", CountMax)
	}
	if n == 1 {
		return "1 path"
	}
	return fmt.Sprintf("%d paths", n)
}
