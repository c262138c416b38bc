package install

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"slipway/lifecycle/appspec"
)

// childEnv makes the test binary install instead of testing: its value is the host's folder.
const childEnv = "SLIPWAY_TEST_INSTALL"

func TestMain(m *testing.M) {
	if base := os.Getenv(childEnv); base != "" {
		if err := makeAndApply(context.Background(), killRequest(base)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if base := os.Getenv(lockerEnv); base != "" {
		r := killRequest(base)
		if _, err := Lock(context.Background(), &r); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("locked")
		select {} // until it is killed
	}
	os.Exit(m.Run())
}

// lockerEnv makes the test binary hold the locks of an installation until it is killed.
const lockerEnv = "SLIPWAY_TEST_LOCK"

func killRequest(base string) Request {
	dst := filepath.Join(base, "srv")
	return Request{
		Spec: &appspec.Spec{
			Files:       []appspec.File{{Source: "/", Destination: filepath.Join(dst, "app")}, {Source: "/", Destination: dst}},
			Permissions: []appspec.Permission{{Object: filepath.Join(dst, "app"), Pattern: "**", Types: []string{"file"}, Mode: "640", ModeSet: true}},
		},
		Archive: filepath.Join(base, "archive"), Root: filepath.Join(base, "root"), Group: "group", Deployment: "d-2", Behavior: "OVERWRITE",
	}
}

// TestKilledAtAnyInstant kills a process that installs, its parallel workers included, and recovers in this one.
func TestKilledAtAnyInstant(t *testing.T) {
	kills := 12
	if testing.Short() {
		kills = 4
	}
	base := memoryDir(t)
	h := newHostIn(t, base)
	old, next := entries{}, entries{}
	for i := range 600 {
		name := fmt.Sprintf("d%02d/f%03d", i%13, i)
		switch i % 4 {
		case 0:
			old[name], next[name] = "old", "new "+name
		case 1:
			old[name] = "gone"
		case 2:
			next[name+"/in/it"] = "added"
			old[name] = "file becomes directory"
		case 3:
			next[name] = "-> elsewhere"
			old[name+"/in/it"] = "directory becomes link"
		}
	}
	prepare := func() {
		for _, dir := range []string{h.dst, h.root} {
			h.must(os.RemoveAll(dir))
			h.must(os.MkdirAll(dir, 0o755))
		}
		h.bundle(old)
		h.write(h.dst, entries{"d00/user": "user", "app/d01/user": "user"})
		r := killRequest(base)
		r.Deployment = "d-1"
		h.must(makeAndApply(t.Context(), r))
		h.bundle(next)
	}
	child := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+base)
		cmd.Stderr = os.Stderr
		return cmd
	}
	prepare()
	before := snapshot(t, h.dst)
	began := time.Now()
	h.must(child().Run())
	whole := time.Since(began)
	after := snapshot(t, h.dst)
	h.clean()

	count := map[string]int{}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range kills {
		prepare()
		cmd := child()
		h.must(cmd.Start())
		at := time.Duration(rnd.Int64N(int64(whole)))
		timer := time.AfterFunc(at, func() { cmd.Process.Kill() })
		cmd.Wait()
		timer.Stop()
		found, err := Recover(t.Context(), h.root)
		if err != nil {
			t.Fatalf("killed after %v: Recover() = %v", at, err)
		}
		which, err := oldOrNew(before, after, snapshot(t, h.dst))
		if err != nil {
			t.Fatalf("killed after %v: Recover() = %+v: %v", at, found, err)
		}
		h.clean()
		d, _ := Committed(h.root, "group")
		if (d == "d-2") != (which == "new") {
			t.Fatalf("killed after %v: Committed() = %q, and the tree is the %s one", at, d, which)
		}
		if len(found) > 0 {
			which += ", recovered"
		}
		count[which]++
	}
	t.Logf("%d kills within %v: %v", kills, whole, count)
}
