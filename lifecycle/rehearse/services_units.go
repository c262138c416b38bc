package rehearse

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// unitFolders are where unit files are, those first that override others (systemd.unit(5)).
var unitFolders = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// unitKinds are the ends of unit names.
var unitKinds = []string{".service", ".socket", ".timer", ".target", ".mount", ".automount", ".path", ".slice", ".scope", ".swap", ".device"}

// unitFile is what the files of a unit say.
type unitFile struct {
	id       string // httpd.service
	path     string // "" if there is none, as of scopes
	masked   bool
	sysv     bool                // of a script in /etc/init.d
	settings map[string][]string // by "Section.Key", in order; an empty value takes back those before
}

// maxUnitFile bounds a file that is read, in bytes.
const maxUnitFile = 1 << 20

// mangleUnit is a unit's name as systemctl completes it.
func mangleUnit(name string) string {
	if strings.HasPrefix(name, "/") {
		return strings.ReplaceAll(strings.Trim(name, "/"), "/", "-") + ".mount"
	}
	for _, kind := range unitKinds {
		if strings.HasSuffix(name, kind) {
			return name
		}
	}
	return name + ".service"
}

// findUnit looks for the file of a unit; an instance has that of its template. It is "" if there is none.
func findUnit(name string) string {
	if strings.ContainsAny(name, "/\x00") {
		return ""
	}
	names := []string{name}
	if template, _ := instanceOf(name); template != "" {
		names = append(names, template)
	}
	for _, n := range names {
		for _, dir := range unitFolders {
			at := filepath.Join(dir, n)
			if info, err := os.Lstat(at); err == nil && !info.IsDir() {
				return at
			}
		}
	}
	return ""
}

// instanceOf splits "getty@tty1.service" into its template and "tty1".
func instanceOf(name string) (template, instance string) {
	before, rest, ok := strings.Cut(name, "@")
	kind := filepath.Ext(rest)
	if !ok || rest == kind {
		return "", ""
	}
	return before + "@" + kind, strings.TrimSuffix(rest, kind)
}

// loadUnit reads a unit; nil if there is no such.
func loadUnit(name string) *unitFile {
	u := &unitFile{id: name, path: findUnit(name), settings: map[string][]string{}}
	if u.path == "" {
		script := filepath.Join("/etc/init.d", strings.TrimSuffix(name, ".service"))
		if info, err := os.Stat(script); strings.HasSuffix(name, ".service") && !strings.Contains(name, "/") && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			u.path, u.sysv = script, true
			return u
		}
		return nil
	}
	for range 8 { // links that lead to links
		target, err := os.Readlink(u.path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(u.path), target)
		}
		if target = filepath.Clean(target); target == os.DevNull {
			u.masked = true
			return u
		}
		if u.path = target; !strings.Contains(u.id, "@") { // an alias
			u.id = filepath.Base(target)
		}
	}
	text, err := readBounded(u.path)
	if err != nil {
		return nil
	}
	if len(text) == 0 {
		u.masked = true
		return u
	}
	parseUnit(text, u.settings)
	for _, drop := range dropIns(u.id) {
		if text, err := readBounded(drop); err == nil {
			parseUnit(text, u.settings)
		}
	}
	return u
}

func readBounded(name string) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxUnitFile {
		return "", &fs.PathError{Op: "read", Path: name, Err: fs.ErrInvalid}
	}
	text, err := os.ReadFile(name)
	return string(text), err
}

// dropIns are the files that add to a unit, in the order of their names.
func dropIns(id string) (list []string) {
	files := map[string]string{}
	names := []string{id}
	if template, _ := instanceOf(id); template != "" {
		names = append(names, template)
	}
	for _, n := range names {
		for _, dir := range unitFolders {
			found, _ := filepath.Glob(filepath.Join(dir, n+".d", "*.conf"))
			for _, f := range found {
				if _, ok := files[filepath.Base(f)]; !ok {
					files[filepath.Base(f)] = f
				}
			}
		}
	}
	for _, f := range files {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	return list
}

// parseUnit adds what a file says (systemd.syntax(7)). What is not understood is passed over, as systemd does.
func parseUnit(text string, settings map[string][]string) {
	section, held := "", ""
	for line := range strings.Lines(text) {
		line = strings.Trim(line, " \t\r\n")
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") || line == "" && held == "" {
			continue
		}
		if cut, ok := strings.CutSuffix(line, `\`); ok {
			held += cut + " "
			continue
		}
		line, held = held+line, ""
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			section = line[1 : len(line)-1]
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || section == "" {
			continue
		}
		at := section + "." + strings.TrimSpace(key)
		if value = strings.TrimSpace(value); value == "" {
			delete(settings, at)
			continue
		}
		settings[at] = append(settings[at], value)
	}
}

// last is the value that counts of a setting that has one.
func (u *unitFile) last(key string) string {
	if v := u.settings[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

func (u *unitFile) yes(key string) bool {
	switch strings.ToLower(u.last(key)) {
	case "1", "yes", "y", "true", "t", "on":
		return true
	}
	return false
}

// kind is the Type= of a service.
func (u *unitFile) kind() string {
	switch t := u.last("Service.Type"); {
	case t != "":
		return t
	case len(u.settings["Service.ExecStart"]) == 0:
		return "oneshot"
	case u.last("Service.BusName") != "":
		return "dbus"
	}
	return "simple"
}

// reloadable tells whether the unit has a way to reload.
func (u *unitFile) reloadable() bool {
	return u.sysv || len(u.settings["Service.ExecReload"]) > 0 || strings.HasPrefix(u.last("Service.Type"), "notify-reload")
}

// lasts tells whether a unit that was started stays active.
func (u *unitFile) lasts() bool {
	if !strings.HasSuffix(u.id, ".service") || u.sysv {
		return true
	}
	return u.kind() != "oneshot" || u.yes("Service.RemainAfterExit")
}

func (u *unitFile) description() string {
	if d := u.last("Unit.Description"); d != "" {
		return u.specified(d)
	}
	if u.sysv {
		return "LSB: " + strings.TrimSuffix(u.id, ".service")
	}
	return u.id
}

// enabled is the state of a unit's file as systemctl tells it.
func (u *unitFile) enabled() string {
	switch {
	case u.masked:
		return "masked"
	case u.sysv:
		return "generated"
	}
	for _, dir := range unitFolders {
		for _, end := range []string{"wants", "requires"} {
			if found, _ := filepath.Glob(filepath.Join(dir, "*."+end, u.id)); len(found) > 0 {
				if strings.HasPrefix(dir, "/etc/") {
					return "enabled"
				}
			}
		}
	}
	for key := range u.settings {
		if strings.HasPrefix(key, "Install.") {
			return "disabled"
		}
	}
	return "static"
}

// specified is a value with its specifiers replaced, as far as they are the same for every host.
func (u *unitFile) specified(text string) string {
	if !strings.Contains(text, "%") {
		return text
	}
	template, instance := instanceOf(u.id)
	prefix := strings.TrimSuffix(u.id, filepath.Ext(u.id))
	if template != "" {
		prefix, _, _ = strings.Cut(u.id, "@")
	}
	plain := func(s string) string { return strings.ReplaceAll(s, "-", "/") }
	host, _ := os.Hostname()
	return strings.NewReplacer("%%", "%", "%i", instance, "%I", plain(instance), "%n", u.id, "%N", strings.TrimSuffix(u.id, filepath.Ext(u.id)),
		"%p", prefix, "%P", plain(prefix), "%H", host, "%t", "/run", "%S", "/var/lib", "%C", "/var/cache", "%L", "/var/log", "%E", "/etc",
		"%T", "/tmp", "%V", "/var/tmp", "%h", "/root", "%u", "root", "%U", "0").Replace(text)
}
