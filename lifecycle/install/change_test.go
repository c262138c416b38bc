package install

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"slipway/lifecycle/appspec"
)

// byHand is what somebody has changed on the host after the installation of the old revision: files that are replaced, that
// are removed, that are in a directory which a file takes the place of, and that a directory takes the place of.
var byHand = entries{
	"app/changed": "by hand 1", "app/gone": "by hand 2", "app/to-file/a/b": "by hand 3", "app/to-dir": "by hand 4", "app/link": "-> by-hand-5",
}

// kept fails unless all that was changed by hand is kept aside, or, with hidden, at least still there.
func (c *change) kept(hidden bool) {
	c.t.Helper()
	aside := asideDir(c.root, "group", "d-1")
	got := shape(c.t, aside)
	if hidden {
		maps.Copy(got, shape(c.t, c.dst))
	}
	texts := map[string]bool{}
	for _, text := range got {
		texts[text] = true
	}
	for name, text := range byHand {
		if found := got[strings.TrimPrefix(filepath.Join(c.dst, name), "/")]; found != text && !(hidden && texts[text]) {
			c.t.Fatalf("%s is not kept aside: %q, want %q; there are %v", name, found, text, got)
		}
	}
}

// change is an installation over another one, with everything in it that a transaction knows.
type change struct {
	*host
	spec  *appspec.Spec
	plain bool
}

// prepare brings the host to the old revision and the bundle to the new one. It may be called again.
func (c *change) prepare() *Plan {
	c.t.Helper()
	for _, dir := range []string{c.dst, c.root} {
		c.must(os.RemoveAll(dir))
		c.must(os.MkdirAll(dir, 0o755))
	}
	c.write(c.dst, entries{"theirs/f": "user", "over/x": "user", "over/link": "-> x"})
	c.bundle(entries{
		"app/same": "s", "app/changed": "old", "app/gone": "g", "app/link": "-> same", "app/sub/deep/gone2": "g", "app/sub/stays": "old",
		"app/to-file/a/b": "x", "app/to-file/c": "y", "app/to-dir": "f", "app/link-to-dir": "-> ../nowhere", "app/kept/ours": "o",
	})
	c.install(c.host.spec("app", "app"), "")
	c.write(c.dst, entries{"app/kept/mine": "user"})
	for name := range byHand {
		c.must(os.Remove(filepath.Join(c.dst, name)))
	}
	c.write(c.dst, byHand)
	c.must(os.Chmod(filepath.Join(c.dst, "app/sub"), 0o700))
	if os.Getuid() == 0 {
		c.must(os.Chown(filepath.Join(c.dst, "app/sub"), 3, 4))
	}
	c.bundle(entries{
		"app/same": "s", "app/changed": "new", "app/new": "n", "app/link": "-> new", "app/sub/stays": "new", "app/sub/newdir/x/y": "1",
		"app/to-file": "now a file", "app/to-dir/in": "d", "app/link-to-dir/in": "d", "over/x": "ours", "over/link": "ours", "fresh/a/b": "1", "fresh/c": "2",
	})
	c.spec = c.host.spec("app", "app", "over", "over", "fresh", "fresh")
	c.spec.Permissions = []appspec.Permission{
		{Object: filepath.Join(c.dst, "app/sub"), Pattern: "**", Types: both, Mode: "711", ModeSet: true},
		{Object: filepath.Join(c.dst, "app"), Pattern: "sub", Types: []string{"directory"}, Mode: "0751", ModeSet: true},
	}
	r := c.request(c.spec)
	r.Behavior, r.Deployment = "OVERWRITE", "d-2"
	p, err := Make(c.t.Context(), r)
	c.must(err)
	p.moves.plain, p.moves.apart = c.plain, c.plain
	return p
}

// state is what counts: the destination, and the files that the next agent goes by.
func (c *change) state() map[string]string {
	all := snapshot(c.t, c.dst)
	for name, text := range snapshot(c.t, filepath.Join(c.root, instructionsDir)) {
		if i := strings.Index(text, "\""); i >= 0 {
			text = text[i:] // the times of these are ours
		}
		all["instructions/"+name] = text
	}
	return all
}

func newChange(t testing.TB, plain bool) (c *change, before, after map[string]string, points int) {
	c = &change{host: newHostIn(t, memoryDir(t)), plain: plain}
	p := c.prepare()
	before = c.state()
	probe, calls, _ := stopAt(-1, false)
	p.probe = probe
	if _, err := p.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.clean()
	after = c.state()
	if cmp.Equal(before, after) {
		t.Fatal("the change changes nothing")
	}
	return c, before, after, *calls
}

func oldOrNew(before, after, got map[string]string) (string, error) {
	switch {
	case cmp.Equal(before, got):
		return "old", nil
	case cmp.Equal(after, got):
		return "new", nil
	}
	return "", fmt.Errorf("the tree is neither the old nor the new one\nagainst the old (-old +got):\n%s\nagainst the new (-new +got):\n%s", cmp.Diff(before, got), cmp.Diff(after, got))
}

// recovered calls Recover's part for one journal, so that it can be stopped too.
func (c *change) recovered(probe func(string) error) (found []Recovered, errs error) {
	for name := range journals(c.root) {
		r, err := recoverOne(context.Background(), c.root, name, func(t *transaction) { t.probe, t.moves.plain = probe, c.plain })
		errs = errors.Join(errs, err)
		if r != nil {
			found = append(found, *r)
		}
	}
	return found, errs
}

func forms(t *testing.T, f func(t *testing.T, plain bool)) {
	for _, plain := range []bool{false, true} {
		name := "exchange"
		if plain {
			name = "plain renames"
		}
		t.Run(name, func(t *testing.T) { f(t, plain) })
	}
}
