package provision

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

// golden compares a text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func profileOf(t *testing.T, text string) *Profile {
	t.Helper()
	p, err := Parse("p.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// small is the least that a profile can say.
const small = "name: app\nweb: {document_root: /srv/app}\n"

// The profile that ships is M1 of the mission, and its schema is the sample application's own.
func TestDefaultProfile(t *testing.T) {
	t.Parallel()
	p, err := Parse(DefaultName, Default())
	if err != nil {
		t.Fatal(err)
	}
	if p.timezone != "Asia/Tokyo" || p.web.documentRoot != "/Tinitter/htdocs" || p.web.allowOverride != "All" || p.web.require != "all granted" ||
		p.web.port != 80 || p.web.keepAliveTimeout < 65 || p.web.welcomePage || !p.web.rewrite {
		t.Errorf("the shipped profile is not what the application needs: %+v", p.web)
	}
	if diff := cmp.Diff([]setting{{"internal_encoding", "UTF-8"}, {"date.timezone", "Asia/Tokyo"}}, p.php.ini, cmp.AllowUnexported(setting{})); diff != "" {
		t.Errorf("php.ini (-want +got):\n%s", diff)
	}
	schema, err := os.ReadFile("../../testdata/tinitter/schema/sqlite.sql")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(schema), p.database.schema); diff != "" {
		t.Errorf("schema of the profile (-application +profile):\n%s", diff)
	}
}

// What is wrong with a profile is told with its line, a mark under it, and what was meant; testdata/mistakes.golden shows all of it.
func TestMistakes(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, text := range []string{
		"",
		"- a\n",
		"name: [\n",
		"name: app\n---\nname: b\n",
		small + "timezon: Asia/Tokyo\n",
		small + "keep_alive_timeout: 70\n",
		"name: app\nweb:\n  document_root: /srv/app\n  keepalive_timeout: 70\n",
		small + "packages: [httpd, php-mbstirng]\n",
		small + "packages: [httpd, htop]\n",
		small + "packages: httpd\n",
		small + "packages: [git, git]\n",
		small + "extra_packages: ['--allow-downgrades']\n",
		small + "timezone: ../../etc/shadow\n",
		"name: app\nweb: {document_root: /srv/app, keep_alive_timeout: 5}\n",
		"name: app\nweb: {document_root: srv/app}\n",
		"name: app\nweb: {document_root: '/srv/\"app'}\n",
		"name: App Server\nweb: {document_root: /srv/app}\n",
		"name: app\n",
		small + "php: {handler: fmp}\n",
		small + "php: {version: latest}\n",
		small + "php: {ini: [a]}\n",
		small + "php:\n  ini:\n    date.timezone: \"UTC\\nextension=evil.so\"\n",
		small + "web: {}\n",
		small + "name: again\n",
		small + "directories: [{path: /srv/app, onwer: web-user}]\n",
		small + "directories: [{path: /srv/../etc, owner: web-user}]\n",
		small + "directories: [{path: /srv/app, mode: rwx}]\n",
		small + "database: {kind: sqlite}\n",
		small + "database: {kind: postgres}\n",
		small + "database: {kind: mariadb, name: a`b, user: u, password_file: /etc/p}\n",
		small + "database: {kind: mysql, name: a, user: u, password_file: /etc/p}\n",
		small + "database: {kind: mariadb, name: a, user: u, password_file: /etc/p, grants: [ALL]}\n",
		small + "database:\n  schema: a\n  schema_file: b\n",
		small + "health: {path: health}\n",
		small + "health: {path: /h, upstream: 'https://x'}\n",
		small + "health: {path: /h, file: run/healthy}\n",
		small + "environment: {set: {A: b}}\n",
		"\tname: app\n",
	} {
		_, err := Parse("p.yml", []byte(text))
		if _, ok := errors.AsType[*InvalidError](err); !ok {
			t.Errorf("Parse(%q) = %v, want an InvalidError", text, err)
			continue
		}
		all.WriteString(err.Error() + "\n\n")
	}
	golden(t, "mistakes.golden", all.String())
}

func TestParseIsBounded(t *testing.T) {
	t.Parallel()
	if _, err := Parse("p.yml", make([]byte, MaxSize+1)); err == nil || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Errorf("Parse() = %v", err)
	}
}

// No text makes the parser panic, and what it accepts can be rendered without a line that the writer of the profile did not ask for.
func FuzzParse(f *testing.F) {
	f.Add(Default())
	f.Add([]byte(small + "packages: [git]\nweb: {directives: [a]}\n"))
	f.Add([]byte("a: &a [*a]\nname: *a\n"))
	f.Add([]byte(small + "database: {kind: mariadb, name: a, user: b, password_file: /p}\nphp: {ini: {a: '$x\"'}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("p.yml", data)
		if err != nil {
			if invalid, ok := errors.AsType[*InvalidError](err); !ok || len(invalid.Problems) == 0 || err.Error() == "" {
				t.Fatalf("Parse() = %#v", err)
			}
			return
		}
		for _, pl := range platforms {
			c, err := p.on(&pl)
			if err != nil {
				continue
			}
			if got, want := strings.Count(p.phpSettings(), "\n"), 1+len(p.php.ini); got != want {
				t.Errorf("%d lines of settings, want %d:\n%s", got, want, p.phpSettings())
			}
			if host := p.virtualHost(c); strings.Count(host, "<VirtualHost ") != 1+strings.Count(strings.Join(p.web.directives, "\n"), "<VirtualHost ")+strings.Count(p.web.allowOverride+p.web.require, "<VirtualHost ") {
				t.Errorf("virtual host:\n%s", host)
			}
		}
	})
}
