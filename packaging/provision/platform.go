package provision

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// logicalNames are the packages that a profile may name. php-module and php-fpm follow from php.handler.
func logicalNames() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(debianPackages)), func(n string) bool { return n == "php-module" || n == "php-fpm" })
}

// PackageNames gives the names that a profile may use for packages, sorted.
func PackageNames() []string { return logicalNames() }

// A Platform describes a supported platform, for documentation.
type Platform struct {
	Title, Manager string
	PHP            []string // versions, the usual one first
	Handlers       []string // the usual one first
	Source         string   // what is switched on for PHP and the database
	Site, Ini      string   // paths
	Units          []string // web server, PHP-FPM, database
	User           string
	Packages       map[string]string // by logical name; "" is part of another package
}

// Platforms gives the supported platforms.
func Platforms() []Platform {
	all := make([]Platform, len(platforms))
	for i, p := range platforms {
		all[i] = Platform{
			Title: p.title, Manager: p.manager, PHP: p.php, Handlers: p.handlers, Source: strings.Join(p.source.topics, ", "),
			Site: p.web.site, Ini: p.ini[0].file, Units: []string{p.web.unit, p.fpm.unit, p.database}, User: p.web.user, Packages: p.packages,
		}
	}
	return all
}

// osRelease reads the lines of an os-release file.
func osRelease(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		name, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		if unquoted, err := strconv.Unquote(v); err == nil {
			v = unquoted
		}
		m[name] = strings.Trim(v, "'")
	}
	return m
}

// detect finds the platform of a tree.
func detect(t *tree) (*platform, string, error) {
	var text []byte
	err := fs.ErrNotExist
	for _, name := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		if text, err = t.read(name); err == nil || !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return nil, "", fmt.Errorf("find out the platform: %w (is %s the root of a Linux system?)", err, t.root)
	}
	os := osRelease(string(text))
	id, version := os["ID"], os["VERSION_ID"]
	if p := find(id, version, os["ID_LIKE"]); p != nil {
		return p, version, nil
	}
	titles := make([]string, len(platforms))
	for i, p := range platforms {
		titles[i] = p.title
	}
	return nil, "", fmt.Errorf("this is %s (ID=%s VERSION_ID=%s), which no table describes: %s are", quoted(os["PRETTY_NAME"]), id, version, strings.Join(titles, ", "))
}

func find(id, version, like string) *platform {
	for i, p := range platforms {
		for _, r := range p.releases {
			if r.id == id && (r.version == "" || version == r.version || strings.HasPrefix(version, r.version+".")) {
				return &platforms[i]
			}
		}
	}
	// An unknown relative is served only where its version is that of the family.
	for i, p := range platforms {
		for _, l := range p.like {
			if slices.Contains(strings.Fields(like), l) && slices.ContainsFunc(p.releases, func(r release) bool {
				major, _, _ := strings.Cut(version, ".")
				return r.version == major
			}) {
				return &platforms[i]
			}
		}
	}
	return nil
}

// naming fills the placeholders of the table.
type naming struct{ replacer *strings.Replacer }

func (n naming) of(s string) string { return n.replacer.Replace(s) }

func (n naming) all(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = n.of(s)
	}
	return out
}

// choice is what a profile comes to on a platform.
type choice struct {
	*platform
	naming
	version string // of PHP
	handler string
}

// on decides what the profile leaves to the platform, and refuses what the platform does not have.
func (p *Profile) on(pl *platform) (*choice, error) {
	c := &choice{platform: pl, version: pl.php[0], handler: pl.handlers[0]}
	if p.php.version != "" {
		if !slices.Contains(pl.php, p.php.version) {
			return nil, fmt.Errorf("%s: php.version is %s, and %s has %s", p.file, p.php.version, pl.title, strings.Join(pl.php, ", "))
		}
		c.version = p.php.version
	}
	if p.php.handler != handlerPlatform {
		if !slices.Contains(pl.handlers, p.php.handler) {
			return nil, fmt.Errorf("%s: php.handler is %s, and %s has %s", p.file, p.php.handler, pl.title, strings.Join(pl.handlers, ", "))
		}
		c.handler = p.php.handler
	}
	c.naming = naming{strings.NewReplacer("{php}", c.version, "{name}", p.name)}
	return c, nil
}

// packageList is what to install, by the platform's names, each once.
func (c *choice) packageList(p *Profile) []string {
	var list []string
	for _, logical := range p.wanted(c.handler) {
		for name := range strings.FieldsSeq(c.of(c.packages[logical])) {
			if !slices.Contains(list, name) {
				list = append(list, name)
			}
		}
	}
	for _, name := range p.extra {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}
