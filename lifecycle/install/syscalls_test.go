package install

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestErrorOfAnySystemCall has the kernel answer one call of an installation with an error, whichever call it is. The tree is the old one or the
// new one, beside which something hidden may be left, no file that was changed by hand is lost, and what is left to do recovery does.
func TestErrorOfAnySystemCall(t *testing.T) {
	needsRoot(t)
	tool(t, "strace")
	next := entries{"a": "new", "n/x/y": "new", "sub/b": "new", "sub/c": "new", "to-dir/x": "new", "to-file": "new", "link": "-> b"}
	after := entries{"app/": ""} // the child installs the bundle twice
	for name, text := range next {
		after[name], after["app/"+name] = text, text
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			after[dir+"/"], after["app/"+dir+"/"] = "", ""
		}
	}
	for i, c := range []struct {
		call, err string
		last      int // how often it is called, about
	}{
		{"openat", "EMFILE", 60},
		{"openat2", "ESTALE", 24},
		{"mkdirat", "ENOSPC", 14},
		{"fchmod", "EIO", 14},
		{"utimensat", "EIO", 12},
		{"unlinkat", "EROFS", 30},
		{"renameat2", "ENOSPC", 30},
		{"fsync", "EIO", 24},
		{"write", "EDQUOT", 30},
		{"symlinkat", "ENOSPC", 3},
		{"flock", "ENOLCK", 12},
		{"getdents64", "EIO", 40},
		{"fgetxattr", "EIO", 24},
		{"fstat", "EIO", 60},
		{"lseek", "EIO", 20},
	} {
		ended := map[string]int{}
		for when := 1 + i%4; when <= c.last; when += 4 {
			h := newHostIn(t, memoryDir(t))
			h.bundle(entries{"a": "old", "gone": "old", "sub/b": "old", "to-dir": "old", "to-file/x": "old", "link": "-> a", "emptied/x": "old"})
			h.must(h.child(nil))
			h.rewrite("app/a", "by hand", later)
			h.bundle(next)
			before := shape(t, h.dst)
			err := h.child(nil, "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace="+c.call, "-e", fmt.Sprintf("inject=%s:error=%s:when=%d", c.call, c.err, when))
			if strings.Contains(fmt.Sprint(err), "ptrace") {
				t.Skipf("needs the right to trace a process: %v", err)
			}
			if _, err := Recover(t.Context(), h.root); err != nil {
				t.Errorf("call %d of %s: Recover() = %v", when, c.call, err)
			}
			got := shape(t, h.dst)
			if cmp.Equal(before, got) {
				ended["old"]++
				continue
			}
			texts := slices.AppendSeq(slices.Collect(maps.Values(got)), maps.Values(shape(t, filepath.Join(h.root, ".slipway"))))
			if !slices.Contains(texts, "by hand") {
				t.Errorf("call %d of %s: what was changed by hand is lost", when, c.call)
			}
			maps.DeleteFunc(got, func(name, _ string) bool {
				return strings.Contains(name, hiddenPrefix) || strings.HasSuffix(name, "emptied/")
			})
			diff(t, fmt.Sprintf("call %d of %s, installation ended with %v: tree", when, c.call, err), after, got)
			ended["new"]++
		}
		t.Log(c.call, ended)
	}
}
