package lifecycle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The file is read as systemd reads an EnvironmentFile=.
func TestParseEnv(t *testing.T) {
	for text, want := range map[string][][2]string{
		"":                         nil,
		"A=1\nB=two words\n":       {{"A", "1"}, {"B", "two words"}},
		"A=1\r\nB=2\r\n":           {{"A", "1"}, {"B", "2"}},
		"# x\n ; y\n\nA=1":         {{"A", "1"}},
		"# goes on \\\nA=1\nB=2":   {{"B", "2"}},
		"A=":                       {{"A", ""}},
		" A = 1 \t\n":              {{"A", "1"}},
		"A='x # y'\nB=x # y":       {{"A", "x # y"}, {"B", "x # y"}},
		`A="a \"b\" \$HOME \n"`:    {{"A", `a "b" $HOME \n`}},
		`A='a\b $HOME'`:            {{"A", `a\b $HOME`}},
		`A=a\ b\\c\ `:              {{"A", `a b\c `}},
		"A=one \\\n two\nB=x":      {{"A", "one  two"}, {"B", "x"}},
		"A='one\ntwo'\nB=\"1\n2\"": {{"A", "one\ntwo"}, {"B", "1\n2"}},
		"A=\"one \\\ntwo\"":        {{"A", "one two"}},
		`A="x"'y'`:                 {{"A", "xy"}},
		`A="x " 'y '`:              {{"A", "x y "}},
		`A=it's`:                   {{"A", "it's"}},
		`A=$(id) ${B} $C`:          {{"A", "$(id) ${B} $C"}},
		"A=1\nB=2\nA=3":            {{"B", "2"}, {"A", "3"}},
		"\xef\xbb\xbfA=é":          {{"A", "é"}},
		"A=b=c":                    {{"A", "b=c"}},
	} {
		got, err := parseEnv("f", []byte(text))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got):\n%s", text, err, diff)
		}
	}
}

// Mistakes are told with their line, and never with a value.
func TestParseEnvMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"A=1\nsecretword\n":              "f:2: the line has no =; it must be NAME=value",
		"A=1\n\n\nsecretword":            "f:4: the line has no =; it must be NAME=value",
		"A='x\ny'\nexport B=secretword":  "f:3: the file is not a shell script: write the line without export",
		"9A=secretword":                  "f:1: what is before the = is no name of a variable: letters, digits and _, no digit first",
		"my-name=secretword":             "f:1: what is before the = is no name of a variable: letters, digits and _, no digit first",
		"=secretword":                    "f:1: what is before the = is no name of a variable: letters, digits and _, no digit first",
		"A=1\nB=\"secretword\nand so on": "f:2: the value begins with a quote that is not closed",
		"A=secretword\x00":               "f is no text in UTF-8",
		"A=\xffsecretword":               "f is no text in UTF-8",
	} {
		if got, err := parseEnv("f", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, %v; want %s", text, got, err, want)
		}
	}
}

func FuzzParseEnv(f *testing.F) {
	for _, s := range []string{"A=1\n", "A=\"x\\\ny\"'z'", "#\\\n", "A=\\", "export A=1", "A = b ;c", "\r\rA='"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := parseEnv("f", data)
		if err != nil {
			if set != nil {
				t.Error("variables beside an error")
			}
			return
		}
		seen := map[string]bool{}
		var again strings.Builder
		for _, kv := range set {
			if !isName(kv[0]) || strings.Contains(kv[1], "\x00") || seen[kv[0]] {
				t.Errorf("%q=%q", kv[0], kv[1])
			}
			seen[kv[0]] = true
			again.WriteString(kv[0] + "='" + strings.ReplaceAll(kv[1], "'", `'"'"'`) + "'\n")
		}
		back, err := parseEnv("again", []byte(again.String()))
		if diff := cmp.Diff(set, back); err != nil || diff != "" {
			t.Errorf("written and read again: %v\n%s", err, diff)
		}
	})
}

// Only root's own file counts, and only where nobody else can put another in its place.
func TestReadEnvFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "env")
	put := func(mode os.FileMode) {
		if err := os.WriteFile(path, []byte("A=1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	read := func(path, want, note string) {
		t.Helper()
		v, err := readEnvFile(path)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		if notes := strings.Join(v.notes, " "); (notes == "") != (note == "") || !strings.Contains(notes, note) {
			t.Errorf("notes %q, want %q", notes, note)
		}
	}
	put(0o600)
	read(path, "", "")
	put(0o640)
	read(path, "", "")
	put(0o644)
	read(path, "", "can be read by every user of this host (mode 0644): chmod 600 it")
	put(0o660)
	read(path, "can be changed by others than its owner (mode 0660): chmod go-w it", "")
	put(0o600)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	read(path, dir+" can be changed by others", "")
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	read(dir, "is no regular file", "")
	read(path+"x", "no such file", "")
	link := filepath.Join(dir, "link")
	if err := os.Symlink("env", link); err != nil {
		t.Fatal(err)
	}
	read(link, "", "")
	if err := os.WriteFile(path, make([]byte, maxEnvFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	read(path, "is larger than", "")
	if os.Getuid() != 0 {
		t.Skip("needs root: gives a file to another user")
	}
	put(0o600)
	if err := os.Chown(path, 12345, 0); err != nil {
		t.Fatal(err)
	}
	read(path, "belongs to user 12345, who could change it: chown root it", "")
}

// The file of the group: its variables reach the scripts and its values no log; those of the agent stay what they are.
func TestEnvFileOfGroup(t *testing.T) {
	b := newBench(t, func(o *Options) {
		o.HostEnviron = func() []string { return []string{"SLIPWAY_TARGET_LIFECYCLE_STATE=InService"} }
		o.Secrets = func() []string { return []string{"agents-own-key"} }
	})
	set := *b.settings.Load()
	set.EnvFile = filepath.Join(b.dir, "env", "{application}-{group}")
	b.Set(set)
	d := minimal()
	file := filepath.Join(b.dir, "env", d["ApplicationName"].(string)+"-"+d["DeploymentGroupName"].(string))
	b.put("v1", map[string]string{
		"content": "1", "appspec.yml": b.appspecOf("AfterInstall=s.sh"),
		"s.sh": "#!/bin/sh\necho \"$DB_WORD $DEPLOYMENT_ID $SLIPWAY_TARGET_LIFECYCLE_STATE $SLIPWAY_X\" >\"$OUT/proof\"\necho \"word $DB_WORD, agents-own-key\"\necho \"$DB_WORD\" >&2\nexit $CODE\n",
	})
	spec := b.spec("d-1", "v1")
	b.deploy(spec, DownloadBundle, Install)
	r := b.do(AfterInstall, spec)
	if r.Code != UnknownError || !strings.Contains(r.Message, "script s.sh was not started: "+file+" with the variables of this deployment's scripts is missing") {
		t.Errorf("without the file: %+v", r)
	}
	if b.read("proof") != "" {
		t.Error("the script has run without its variables")
	}
	set.EnvFile = "-" + set.EnvFile
	b.Set(set)
	b.deploy(spec, AfterInstall)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("DB_WORD='correct horse'\nDEPLOYMENT_ID=d-fake\nSLIPWAY_X=1\nSLIPWAY_TARGET_LIFECYCLE_STATE=x\nCODE=7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r = b.do(AfterInstall, spec)
	if got := b.read("proof"); got != "correct horse d-1 InService \n" {
		t.Errorf("the script saw %q", got)
	}
	log := b.read("root/" + d["DeploymentGroupId"].(string) + "/d-1/logs/scripts.log")
	if r.Code != ScriptFailed || !strings.Contains(r.Log, "word [redacted], [redacted]") || !strings.Contains(log, "[stdout]word [redacted], [redacted]\n") {
		t.Errorf("result %+v, log %s", r, log)
	}
	for _, text := range []string{log, r.Log, r.Message, b.read("root/deployment-logs/codedeploy-agent-deployments.log")} {
		if strings.Contains(text, "correct horse") || strings.Contains(text, "agents-own-key") {
			t.Errorf("a secret in %s", text)
		}
	}
	if n := b.logs.FilterMessage("env_file sets a variable that the agent alone sets: passed over").Len(); n != 3 {
		t.Errorf("%d variables that are not to be set were told, want 3", n)
	}
	if err := os.WriteFile(file, []byte("A=1\nsecretword\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := b.do(AfterInstall, spec); r.Code != UnknownError || !strings.Contains(r.Message, file+":2: the line has no =") {
		t.Errorf("with a mistake in the file: %+v", r)
	}
}

// A group whose name would lead elsewhere has no file.
func TestEnvFileConfined(t *testing.T) {
	e := &Engine{}
	e.Set(Settings{EnvFile: "/etc/x/{group}.env"})
	for _, name := range []string{"..", "a/../../b", "", "a\nb", "{application}"} {
		if _, err := e.envFile(&Deployment{GroupName: name}); err == nil || !strings.Contains(err.Error(), "cannot be part of the name of a file") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// hooks.working_directory: / or the archive that the script is of.
func TestWorkingDirectory(t *testing.T) {
	b := newBench(t, nil)
	b.put("v1", map[string]string{"content": "1", "appspec.yml": b.appspecOf("AfterInstall=scripts/s.sh"), "scripts/s.sh": "#!/bin/sh\npwd >\"$OUT/proof\"\n"})
	spec := b.spec("d-1", "v1")
	b.deploy(spec, DownloadBundle, Install, AfterInstall)
	if got := b.read("proof"); got != "/\n" {
		t.Errorf("by default in %q", got)
	}
	set := *b.settings.Load()
	set.WorkInArchive = true
	b.Set(set)
	b.deploy(spec, AfterInstall)
	if got, want := b.read("proof"), filepath.Join(b.dir, "root", minimal()["DeploymentGroupId"].(string), "d-1", "deployment-archive")+"\n"; got != want {
		t.Errorf("in %q, want %q", got, want)
	}
}
