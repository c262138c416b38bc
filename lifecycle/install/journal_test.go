package install

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func contextWithCause(t *testing.T) (context.Context, context.CancelCauseFunc) {
	return context.WithCancelCause(t.Context())
}

func TestJournalRoundTrip(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x"+journalSuffix)
	j, err := createJournal(name, journalHeader{TX: "abc", Group: "g", Deployment: "d"})
	if err != nil {
		t.Fatal(err)
	}
	odd := "caf\xe9 \"q\"\\\t\x01 é"
	a := &application{j: j, t: newTransaction("abc"), p: &Plan{req: Request{Root: filepath.Dir(name)}}}
	a.t.dirs = []liveDir{{"/a", 1, ""}, {"/" + odd, 1<<64 - 1, ""}}
	if err := a.beginJournal(); err == nil { // the folder of journals is not there: all is written all the same
		t.Error("beginJournal() without a state directory succeeded")
	}
	a.t.steps = []step{
		{kind: stepHide, dir: 0, name: odd, n: 7, ino: 99, was: -1, over: true},
		{kind: stepReset, dir: 1, n: 0},
		{kind: stepAdd, dir: 1, name: "x", n: 0, ino: 5},
		{kind: stepSwap, dir: 0, name: ".y", n: 4294967295, ino: 6, was: 1<<62 + 1, over: true},
	}
	a.t.resets = []reset{{status{Mode: 0o755, UID: 1, GID: 2, Access: []byte{1, 2}}, status{Mode: 0o4700, Dflt: []byte{3}, Label: []byte("l")}}}
	a.t.rmdirs = []rmdir{{odd, 3, 1}}
	a.t.labels = []string{"/l" + odd}
	if err := a.writeSteps(); err != nil {
		t.Fatal(err)
	}
	for i, op := range []string{"", opCommit, opDone, opUndo} {
		if op != "" {
			if err := j.seal(op); err != nil {
				t.Fatal(err)
			}
		} else if err := j.sync(); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		h, got, state, err := readJournal(bytes.NewReader(data))
		if err != nil || state != []journalState{stateStaging, stateCommitted, stateDone, stateUndoing}[i] || h.TX != "abc" || h.Group != "g" || h.Deployment != "d" {
			t.Fatalf("after %q: readJournal() = %+v, state %d, %v", op, h, state, err)
		}
		for _, pair := range [][2]any{{a.t.dirs, got.dirs}, {a.t.steps, got.steps}, {a.t.resets, got.resets}, {a.t.rmdirs, got.rmdirs}, {a.t.labels, got.labels}} {
			if d := cmp.Diff(pair[0], pair[1], cmp.AllowUnexported(liveDir{}, step{}, reset{}, rmdir{})); d != "" {
				t.Errorf("after %q: mismatch (-want +got):\n%s", op, d)
			}
		}
	}
}

func TestJournalOfAnotherVersion(t *testing.T) {
	_, _, _, err := readJournal(strings.NewReader(`{"slipway":"install","v":9,"tx":"abc"}` + "\n"))
	if err == nil || !strings.Contains(err.Error(), "version 9") {
		t.Errorf("readJournal() = %v, want it refused by its version", err)
	}
}

func FuzzReadJournal(f *testing.F) {
	head := `{"slipway":"install","v":1,"tx":"abc","group":"g"}` + "\n"
	for _, seed := range []string{
		"", head, head + `{"op":"dir","path":"/a","ino":1}` + "\n" + `{"op":"swap","d":0,"name":"x","n":1,"ino":2}` + "\n",
		head + `{"op":"swap","d":9,"name":"x"}` + "\n", head + `{"op":"dir","path":"a"}` + "\n", head + `{"op":"commit","lines":1}` + "\n",
		head + `{"op":"reset","d":0}` + "\n", head + `{"op":"dir","path":"/a"}` + "\n" + `{"op":"hide","name":"../x"}` + "\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, tr, state, err := readJournal(bytes.NewReader(data))
		if err != nil {
			return
		}
		if state != stateStaging && !bytes.Contains(data, []byte("commit")) {
			t.Fatalf("state %d without a commit line", state)
		}
		for _, s := range tr.steps {
			if int(s.dir) >= len(tr.dirs) || s.kind == 0 || strings.ContainsAny(s.name, "/\x00") || s.name == ".." || s.kind != stepReset && s.name == "" {
				t.Fatalf("unsafe step %+v", s)
			}
			if s.kind == stepReset && int(s.n) >= len(tr.resets) {
				t.Fatalf("reset %d of %d", s.n, len(tr.resets))
			}
		}
		for _, r := range tr.rmdirs {
			if int(r.dir) >= len(tr.dirs) || strings.ContainsAny(r.name, "/\x00") || r.name == ".." || r.name == "" {
				t.Fatalf("unsafe rmdir %+v", r)
			}
		}
	})
}
