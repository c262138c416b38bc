package hooks

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The name in a stat line may hold anything.
func TestParseStat(t *testing.T) {
	t.Parallel()
	rest := " S 10 20 30 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654321 1 2 3"
	for _, name := range []string{"(sh)", "(a b)", "(a) S 1 (b)", "(\n)", "()"} {
		got, err := parseStat([]byte("42 " + name + rest + "\n"))
		want := proc{pid: 42, ppid: 10, pgrp: 20, state: 'S', start: 987654321}
		if err != nil || got != want {
			t.Errorf("parseStat(%q) = %+v, %v, want %+v", name, got, err, want)
		}
	}
	for _, bad := range []string{"", "42", "42 (sh", "42 (sh) S 1 2", "x (sh)" + rest, "42 (sh) SS 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9"} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("parseStat(%q) = %+v, want an error", bad, got)
		}
	}
	if self, err := readProc(os.Getpid()); err != nil || self.ppid != os.Getppid() {
		t.Errorf("readProc(self) = %+v, %v", self, err)
	}
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	passwd := []byte("root:x:0:0:root:/root:/bin/bash\n# comment\ndeploy:x:1001:1002:D,,,:/home/deploy:/bin/zsh\nbare:x:7:8:::\nbad:x:one:2:::/bin/sh\nshort:x:1\n")
	for name, want := range map[string]account{
		"root":   {name: "root", home: "/root", shell: "/bin/bash"},
		"deploy": {name: "deploy", uid: 1001, gid: 1002, home: "/home/deploy", shell: "/bin/zsh"},
		"bare":   {name: "bare", uid: 7, gid: 8, home: "/", shell: "/bin/sh"},
	} {
		if got, ok := parsePasswd(passwd, name); !ok || !cmp.Equal(got, want, cmp.AllowUnexported(account{})) {
			t.Errorf("parsePasswd(%s) = %+v, %v, want %+v", name, got, ok, want)
		}
	}
	for _, name := range []string{"bad", "short", "nobody", "deplo", ""} {
		if got, ok := parsePasswd(passwd, name); ok {
			t.Errorf("parsePasswd(%s) = %+v, want none", name, got)
		}
	}
	group := []byte("adm:x:4:syslog,deploy\ndeploy:x:1002:deploy\ndocker:x:99:deploy\ndocker2:x:99:deploy\nother:x:5:deployer\nbad:x:y:deploy\n")
	if diff := cmp.Diff([]uint32{4, 99}, parseGroups(group, "deploy", 1002)); diff != "" {
		t.Errorf("parseGroups (-want +got):\n%s", diff)
	}
}

// A user that only a directory service knows comes from getent.
func TestGetent(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	put(t, filepath.Join(bin, "getent"), `#!/bin/sh
case "$1 $2" in
"passwd remote") echo 'remote:*:7001:7002:R:/home/remote:/bin/bash' ;;
"initgroups remote") echo 'remote                7002 7003 7004' ;;
*) exit 2 ;;
esac
`, 0o755)
	got, err := lookUp("remote", bin)
	want := account{name: "remote", uid: 7001, gid: 7002, groups: []uint32{7002, 7003, 7004}, home: "/home/remote", shell: "/bin/bash"}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(account{})); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err := lookUp("stranger", bin); err == nil {
		t.Errorf("lookUp(stranger) = %+v, want an error", got)
	}
}

func TestEnviron(t *testing.T) {
	t.Parallel()
	env := []string{"HOME=/a", "HOMER=1", "HOME=/b"}
	if diff := cmp.Diff([]string{"HOMER=1", "HOME=/c"}, environ(env, [2]string{"HOME", "/c"})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := variable(env, "HOME"); got != "/b" {
		t.Errorf("variable() = %q, want the last", got)
	}
}
