package lint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree makes a bundle on disk: name to content, "-> target" for a link, a name that ends in / for a folder. Scripts (*.sh) are executable
// unless their name has "plain" in it.
func tree(t testing.TB, files map[string]string) *os.Root {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := fs.FileMode(0o644)
		if strings.HasSuffix(name, ".sh") && !strings.Contains(name, "plain") {
			mode = 0o755
		}
		var err error
		target, link := strings.CutPrefix(content, "-> ")
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case link:
			err = os.Symlink(target, path)
		default:
			err = os.WriteFile(path, []byte(content), mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// hook is an appspec that installs all and runs the scripts after it.
func hook(scripts ...string) string {
	text := head + "files:\n  - source: /\n    destination: /srv/app\nhooks:\n  AfterInstall:\n"
	for _, s := range scripts {
		text += "    - location: " + s + "\n"
	}
	return text
}

const ok = "#!/bin/sh\nset -e\ntrue\n"

// everything is a HasProgram of a host that has all.
func everything(string) bool { return true }

// Each thing that only the bundle shows: what is found, where, and what is offered. "" finds nothing.
func TestBundle(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		opts  Options
		want  string // id file:line:col suggestion, of which the parts given have to be there
	}{
		{"all right", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": ok}, Options{}, ""},
		{"no appspec", map[string]string{"a.sh": ok}, Options{}, "SW302 appspec.yml:0:0 name it appspec.yml"},
		{"appspec in a folder", map[string]string{"x/appspec.yml": hook("a.sh"), "b": ""}, Options{}, "SW302 appspec.yml:0:0 pack the bundle from within the folder x"},
		{"appspec in capitals", map[string]string{"AppSpec.yml": hook("a.sh")}, Options{}, "SW302 appspec.yml:0:0 AppSpec.yml is there: name it appspec.yml"},
		{"appspec as text", map[string]string{"appspec.yml.txt": hook("a.sh")}, Options{}, "SW302 appspec.yml:0:0 appspec.yml.txt is there"},
		{"appspec.yaml", map[string]string{"appspec.yaml": hook("a.sh"), "a.sh": ok}, Options{}, "SW303 appspec.yaml:0:0"},
		{"appspec.yaml by name", map[string]string{"appspec.yaml": hook("a.sh"), "a.sh": ok}, Options{AppSpec: "appspec.yaml"}, ""},
		{"appspec of another name", map[string]string{"deploy/a.yml": hook("a.sh"), "a.sh": ok}, Options{AppSpec: "deploy/a.yml"}, ""},
		{"two", map[string]string{"appspec.yml": hook("a.sh"), "appspec.yaml": hook("a.sh"), "a.sh": ok}, Options{}, "SW304 appspec.yaml:0:0"},
		{"script missing", map[string]string{"appspec.yml": hook("scripts/start.sh"), "scripts/strat.sh": ok}, Options{}, "SW310 appspec.yml:8:17 did you mean scripts/strat.sh?"},
		{"script elsewhere", map[string]string{"appspec.yml": hook("start.sh"), "scripts/start.sh": ok}, Options{}, "SW310 appspec.yml:8:17 did you mean scripts/start.sh?"},
		{"script in another case", map[string]string{"appspec.yml": hook("scripts/Start.sh"), "Scripts/start.sh": ok}, Options{}, "SW310 appspec.yml:8:17 did you mean Scripts/start.sh?"},
		{"script nowhere", map[string]string{"appspec.yml": hook("scripts/start.sh")}, Options{}, "SW310 appspec.yml:8:17 write the path"},
		{"script with a slash before it", map[string]string{"appspec.yml": hook("/a.sh"), "a.sh": ok}, Options{}, ""},
		{"not executable", map[string]string{"appspec.yml": hook("plain.sh"), "plain.sh": ok}, Options{}, "SW311 plain.sh:0:0 chmod +x plain.sh"},
		{"CRLF", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": strings.ReplaceAll(ok, "\n", "\r\n")}, Options{}, "SW312 a.sh:1:10 LF"},
		{"CRLF further down", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": ok + "echo\r\n"}, Options{}, "SW312 a.sh:4:5 LF"},
		{"CRLF in Python", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": "#!/usr/bin/env python3\nprint()\r\n"}, Options{}, ""},
		{"no interpreter", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": "set -e\ntrue\n"}, Options{}, "SW313 a.sh:1:1 #!/bin/sh"},
		{"empty", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": "\n"}, Options{}, ""},
		{"program", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": "\x7fELF\x00\x00"}, Options{}, ""},
		{"interpreter", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": "#!/bin/bahs\nset -e\n"}, Options{HasProgram: func(s string) bool { return s == "/bin/bash" }}, "SW314 a.sh:1:1 did you mean /bin/bash?"},
		{"interpreter by env", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": "#!/usr/bin/env -S FOO=1 node\n"}, Options{HasProgram: func(s string) bool { return s != "node" }}, "SW314 a.sh:1:1"},
		{"bash under sh", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": "#!/bin/sh\nset -e\na=(1 2)\n"}, Options{Shell: shells("sh")}, "SW315 a.sh:3:1 #!/bin/bash"},
		{"syntax of sh", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": "#!/bin/sh\nset -e\nif\n"}, Options{Shell: shells("sh", "bash")}, "SW316 a.sh:3:1"},
		{"syntax of bash", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": "#!/usr/bin/env bash\nset -e\nif\n"}, Options{Shell: shells("bash")}, "SW316 a.sh:3:1"},
		{"goes on", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": "#!/bin/sh\ncp a b\n  exit 0\n"}, Options{}, "SW317 a.sh:3:3 set -e"},
		{"one command", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": "#!/bin/sh\nexit 0\n"}, Options{}, ""},
		{"stops by its first line", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": "#!/bin/bash -eu\ncp a b\nexit 0\n"}, Options{}, ""},
		{"stops by set -o", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": "#!/bin/bash\nset -uo pipefail -o errexit\ncp a b\nexit 0\n"}, Options{}, ""},
		{"ends with what counts", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": "#!/bin/sh\ncp a b\nsystemctl restart httpd\n"}, Options{}, ""},
		{"folder as a script", map[string]string{"appspec.yml": hook("scripts"), "scripts/a.sh": ok}, Options{}, "SW318 appspec.yml:8:17"},
		{"broken link as a script", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": "-> b.sh"}, Options{}, "SW318 appspec.yml:8:17"},
		{"link to a script", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": "-> x/b.sh", "x/b.sh": ok}, Options{}, ""},
		{"script in a linked folder", map[string]string{"appspec.yml": hook("y/b.sh"), "y": "-> x", "x/b.sh": ok}, Options{}, ""},
		{"links in a circle", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": "-> b.sh", "b.sh": "-> a.sh"}, Options{}, "SW318 appspec.yml:8:17"},
		{"BOM", map[string]string{"appspec.yml": hook("a.sh"), "a.sh": bom + ok}, Options{}, "SW319 a.sh:1:1"},
		{"source missing", map[string]string{"appspec.yml": head + "files:\n  - source: htdcos\n    destination: /srv\n", "htdocs/a": ""}, Options{}, "SW320 appspec.yml:4:13 did you mean htdocs?"},
		{"two sources", map[string]string{"appspec.yml": head + "files:\n  - source: /\n    destination: /srv\n  - source: a/f\n    destination: /srv/a\n", "a/f": ""}, Options{}, "SW321 appspec.yml:6:13"},
		{"two sources that do not meet", map[string]string{"appspec.yml": head + "files:\n  - source: a\n    destination: /srv\n  - source: b\n    destination: /srv\n", "a/f": "", "b/g": ""}, Options{}, ""},
		{".git", map[string]string{"appspec.yml": head + filesHead, ".git/HEAD": ""}, Options{}, "SW322 appspec.yml:4:13"},
		{".git that stays", map[string]string{"appspec.yml": head + "files:\n  - source: a\n    destination: /srv\n", "a/f": "", ".git/HEAD": ""}, Options{}, "SW341 .git:0:0"},
		{"link that leaves", map[string]string{"appspec.yml": head + filesHead, "x": "-> /etc/passwd"}, Options{}, "SW323 x:0:0"},
		{"link that climbs", map[string]string{"appspec.yml": head + filesHead, "a/x": "-> ../../y"}, Options{}, "SW323 a/x:0:0"},
		{"link that stays", map[string]string{"appspec.yml": head + filesHead, "a/x": "-> ../appspec.yml"}, Options{}, ""},
		{"permissions on nothing", map[string]string{"appspec.yml": head + filesHead + "permissions:\n  - object: /srv/app\n    pattern: '*.cgi'\n    mode: 755\n"}, Options{}, "SW330 appspec.yml:7:13"},
		{"permissions that meet", map[string]string{"appspec.yml": head + filesHead + "permissions:\n  - object: /srv/app\n    pattern: '*.yml'\n    mode: 755\n  - object: /srv/app\n    type: [file]\n    except: [b]\n    owner: www\n"}, Options{}, "SW331 appspec.yml:10:13"},
		{"permissions that do not", map[string]string{"appspec.yml": head + filesHead + "permissions:\n  - object: /srv/app\n    pattern: '*.yml'\n    mode: 755\n  - object: /srv/app\n    type: [file]\n    except: ['*.yml']\n    owner: www\n", "b": ""}, Options{}, ""},
		{"pattern on a file", map[string]string{"appspec.yml": head + filesHead + "permissions:\n  - object: /srv/app/appspec.yml\n    pattern: '*'\n    mode: 755\n"}, Options{}, "SW332 appspec.yml:7:13"},
		{"macOS", map[string]string{"appspec.yml": head + filesHead, "__MACOSX/._a": ""}, Options{}, "SW340 __MACOSX:0:0"},
		{"secrets", map[string]string{"appspec.yml": head + filesHead, "conf/.env": ""}, Options{}, "SW341 conf/.env:0:0"},
		{"key", map[string]string{"appspec.yml": head + filesHead, "tls/server.key": ""}, Options{}, "SW341 tls/server.key:0:0"},
		{"certificate of a library", map[string]string{"appspec.yml": head + filesHead, "vendor/x/ca.pem": ""}, Options{}, ""},
	}
	tested := map[string]bool{badArchive: true} // see TestUnreadable
	for _, tt := range tests {
		id, _, _ := strings.Cut(tt.want, " ")
		tested[id] = true
		t.Run(tt.name, func(t *testing.T) {
			if tt.opts.Shell == nil {
				tt.opts.Shell = NoShell
			}
			if tt.opts.HasProgram == nil {
				tt.opts.HasProgram = everything
			}
			report, err := Bundle(t.Context(), tree(t, tt.files).FS(), tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range report.Findings {
				if f.Severity == note && f.ID != goesOn {
					continue
				}
				got = append(got, fmt.Sprintf("%s %s:%d:%d %s", f.ID, f.File, f.Pos.Line, f.Pos.Col, f.Suggestion))
			}
			head, suggestion, _ := strings.Cut(tt.want, " ")
			place, suggestion, _ := strings.Cut(suggestion, " ")
			found := slices.ContainsFunc(got, func(s string) bool {
				return strings.HasPrefix(s, head+" "+place+" ") && strings.Contains(s, suggestion)
			})
			if tt.want == "" && len(got) > 0 || tt.want != "" && !found {
				t.Errorf("got\n%s\nwant %q", strings.Join(got, "\n"), tt.want)
			}
		})
	}
	for _, r := range bundleRules {
		if !tested[r.ID] {
			t.Errorf("no test finds %s", r.ID)
		}
	}
}

// shells refuse line 3 of every script, if they are among those named.
func shells(refusing ...string) func(context.Context, string, []byte) (Verdict, error) {
	return func(_ context.Context, shell string, _ []byte) (Verdict, error) {
		return Verdict{OK: !slices.Contains(refusing, shell), Judge: shell, Line: 3, Message: "no"}, nil
	}
}

// The shells of this host are asked, and run nothing of what they read.
func TestAskShell(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "ran")
	for _, shell := range []string{"sh", "bash"} {
		v, err := askShell(t.Context(), shell, []byte("#!/bin/sh\n: > "+mark+"\n"))
		if err != nil || !v.OK || v.Judge == "" {
			t.Errorf("%s: %+v, %v", shell, v, err)
		}
		v, err = askShell(t.Context(), shell, []byte("#!/bin/sh\n: > "+mark+"\nif true; then fi\n"))
		if err != nil || v.OK || v.Line != 3 || v.Message == "" || !strings.HasPrefix(v.Judge, shell) {
			t.Errorf("%s: %+v, %v, want a complaint about line 3", shell, v, err)
		}
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the script was run")
	}
	if v, err := askShell(t.Context(), "bash", []byte("#!/bin/bash\na=(1 2)\ncat <(true)\n")); err != nil || !v.OK {
		t.Errorf("bash: %+v, %v", v, err)
	}
	if _, err := askShell(t.Context(), "fish", nil); !errors.Is(err, ErrNoShell) {
		t.Errorf("fish: %v", err)
	}
}

func TestUnreadable(t *testing.T) {
	report := Unreadable("bundle.zip", "it is empty")
	if len(report.Findings) != 1 || report.Findings[0].ID != badArchive || report.Count(bad) != 1 {
		t.Errorf("%+v", report)
	}
}

// What is mended in a bundle is not found again, and nothing else is touched.
func TestMendBundle(t *testing.T) {
	root := tree(t, map[string]string{
		"appspec.yml": head + "files:\n  - source: /\n    destination: /srv/app\nhooks:\n  AfterInstal:\n    - location: plain.sh\n    - location: /l.sh\n    - location: py\n    - location: bin\n    - location: none\n",
		"plain.sh":    bom + "#!/bin/sh\r\nset -e\r\ntrue\r\n", "l.sh": "-> x/plain.sh", "x/plain.sh": ok,
		"py": "#!/usr/bin/python3\r\nprint('''\r\n''')\r\n", "bin": "\x7fELF\r\n\x00", "other.txt": "a\r\n",
	})
	opts := Options{Shell: NoShell, HasProgram: everything}
	changes, err := MendBundle(t.Context(), root.FS(), opts)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range changes {
		got[c.Name] = fmt.Sprintf("%o %q", c.Mode, c.After[:min(len(c.After), 40)])
		if err := root.WriteFile(c.Name, c.After, 0); err != nil {
			t.Fatal(err)
		}
		if err := root.Chmod(c.Name, c.Mode); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{
		"appspec.yml": `644 "version: 0.0\nos: linux\nfiles:\n  - source"`,
		"plain.sh":    `755 "#!/bin/sh\nset -e\ntrue\n"`, "x/plain.sh": `755 "#!/bin/sh\nset -e\ntrue\n"`,
		"py": `755 "#!/usr/bin/python3\nprint('''\r\n''')\r\n"`, "bin": `755 "\x7fELF\r\n\x00"`,
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: %s, want %s", name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("changed: %v", got)
	}
	report, err := Bundle(t.Context(), root.FS(), opts)
	if err != nil || report.Fixable() > 0 {
		t.Errorf("left: %v, %v", report.Findings, err)
	}
	if changes, err := MendBundle(t.Context(), root.FS(), opts); err != nil || len(changes) > 0 {
		t.Errorf("mended twice: %v, %v", changes, err)
	}
}

// A file that is wrong everywhere does not give endless findings.
func TestBounds(t *testing.T) {
	text := func(events int) []byte {
		var b bytes.Buffer
		b.WriteString(head + "files: []\nhooks:\n")
		for i := range events {
			fmt.Fprintf(&b, "  BeoreInstall%d: [{location: a b, timeout: '5', x: 1}]\n", i)
		}
		return b.Bytes()
	}
	report := Appspec("appspec.yml", text(10000))
	if n := len(report.Findings); n > maxFindings || report.Omitted < 20000 {
		t.Errorf("%d findings, %d omitted", n, report.Omitted)
	}
	if after := Mend("appspec.yml", text(100)); bytes.Contains(after, []byte("'5'")) {
		t.Errorf("not mended:\n%s", after)
	}
}
