package provision

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// virtualHost is the configuration of the site.
func (p *Profile) virtualHost(c *choice) string {
	w := &p.web
	var b strings.Builder
	b.WriteString(p.headline("#"))
	if w.port != defaultPort {
		fmt.Fprintf(&b, "Listen %d\n", w.port)
	}
	fmt.Fprintf(&b, "<VirtualHost *:%d>\n", w.port)
	if w.serverName != "" {
		fmt.Fprintf(&b, "    ServerName %s\n", w.serverName)
	}
	fmt.Fprintf(&b, "    DocumentRoot %q\n    DirectoryIndex index.php index.html\n", w.documentRoot)
	fmt.Fprintf(&b, "    # Longer than the balancer keeps an idle connection, or it uses some that are being closed.\n    KeepAlive On\n    KeepAliveTimeout %d\n", w.keepAliveTimeout)
	fmt.Fprintf(&b, "    <Directory %q>\n        AllowOverride %s\n        Require %s\n    </Directory>\n", w.documentRoot, w.allowOverride, w.require)
	if c.handler == handlerFPM {
		fmt.Fprintf(&b, "    <FilesMatch \"\\.php$\">\n        SetHandler \"proxy:unix:%s|fcgi://localhost\"\n    </FilesMatch>\n", c.of(c.fpm.socket))
	}
	b.WriteString(p.health.directives())
	for _, d := range w.directives {
		b.WriteString("    " + d + "\n")
	}
	b.WriteString("</VirtualHost>\n")
	return b.String()
}

const defaultPort = 80

// directives are the lines that answer a balancer.
func (h *healthPath) directives() string {
	if h.path == "" {
		return ""
	}
	form := "^" + strings.ReplaceAll(h.path, ".", `\.`) + "$"
	if h.file == "" {
		// Where nothing of the pattern is in the address, Apache adds the whole path to that: an empty group, which is, keeps it from it.
		form = strings.TrimSuffix(form, "$") + "()$"
		return "    # The agent's answer for the balancer. An agent that is being restarted is asked again at once.\n" +
			fmt.Sprintf("    ProxyPassMatch %q %q connectiontimeout=1 timeout=2 retry=0\n", form, h.upstream+"$1")
	}
	folder := path.Dir(h.file)
	return "    # The agent's answer for the balancer: the file is there while the application is fit.\n" +
		"    RewriteEngine On\n" +
		fmt.Sprintf("    RewriteCond %q !-f\n    RewriteRule %q - [R=503,L]\n    AliasMatch %q %q\n", h.file, form, form, h.file) +
		fmt.Sprintf("    <Directory %q>\n        Require all granted\n    </Directory>\n", folder)
}

// phpSettings is the drop-in file of PHP's settings.
func (p *Profile) phpSettings() string {
	var b strings.Builder
	b.WriteString(p.headline(";"))
	for _, s := range p.php.ini {
		fmt.Fprintf(&b, "%s = %s\n", s.name, iniQuoted(s.value))
	}
	return b.String()
}

// iniQuoted writes a value so that PHP reads the text itself; words and numbers stay bare, as people write them.
func iniQuoted(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 && !strings.ContainsRune(s, '/') {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`).Replace(s) + `"`
}

// siteParts are the files and links of the web server and of PHP, all of one transaction. fresh says that the packages are not there yet.
func (p *Profile) siteParts(c *choice, fresh bool) []part {
	var parts []part
	runsPHP := []string{c.of(c.web.unit)}
	if c.handler == handlerFPM {
		runsPHP = []string{c.of(c.fpm.unit)}
	}
	serves := []string{c.of(c.web.unit)}
	add := func(r resource, name string, units []string) {
		parts = append(parts, part{resource: r, reloads: units, paths: []string{name}})
	}
	if len(p.php.ini) > 0 {
		settings := ""
		for _, place := range c.ini {
			if place.handler != "" && place.handler != c.handler {
				continue
			}
			if place.file != "" {
				settings = c.of(place.file)
				add(&file{path: settings, mode: 0o644, content: whole(p.phpSettings())}, settings, runsPHP)
			}
			for _, l := range c.all(place.links) {
				add(&link{path: l, target: settings}, l, runsPHP)
			}
		}
	}
	if c.web.modules != nil {
		for _, module := range p.modules(c) {
			for _, name := range c.web.modules[module] {
				l := c.web.enabled + "/" + name
				add(&link{path: l, target: "../" + lastPart(c.web.available) + "/" + name}, l, serves)
			}
		}
	}
	if !p.web.welcomePage {
		if w := c.web.welcome; w.blank != "" {
			text := p.headline("#") + "# The welcome page is off. The file stays, because an upgrade of the package would bring it back.\n"
			add(&file{path: w.blank, mode: 0o644, content: whole(text), brought: fresh, shows: "the configuration of the welcome page\n"}, w.blank, serves)
		} else {
			add(&link{path: w.link, target: w.is, absent: true, brought: fresh}, w.link, serves)
		}
	}
	site := c.of(c.web.site)
	add(&file{path: site, mode: 0o644, content: whole(p.virtualHost(c))}, site, serves)
	if l := c.of(c.web.siteLink); l != "" {
		add(&link{path: l, target: "../sites-available/" + lastPart(site)}, l, serves)
	}
	return parts
}

func lastPart(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// modules are those of the web server that the profile needs, in the order of their names.
func (p *Profile) modules(c *choice) []string {
	var list []string
	if p.web.rewrite || p.health.path != "" && p.health.file != "" {
		list = append(list, "rewrite")
	}
	if p.health.path != "" && p.health.file == "" {
		list = append(list, "proxy", "proxy_http")
	}
	if c.handler == handlerFPM {
		list = append(list, "proxy", "proxy_fcgi")
	}
	slices.Sort(list)
	return slices.Compact(list)
}
