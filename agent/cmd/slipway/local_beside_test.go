package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// beside an agent at work a local deployment of the same group waits until the command in hand is over, and one of another group does
// not. The agent goes on afterwards, and its host says what is installed.
func TestLocalBesideDaemon(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	hook := "#!/bin/sh\necho \"$DEPLOYMENT_ID $LIFECYCLE_EVENT\" >>\"$OUT/order\"\nwhile [ -e \"$OUT/hold\" ]; do sleep 0.01; done\necho \"$DEPLOYMENT_ID over\" >>\"$OUT/order\"\n"
	h.put("k", zipped(map[string]string{"appspec.yml": h.appspec("AfterInstall=s.sh"), "content/f": "service\n", "s.sh": hook}))
	mine := filepath.Join(h.dir, "b")
	for name, content := range map[string]string{"appspec.yml": h.appspec("AfterInstall=s.sh"), "content/f": "mine\n", "s.sh": strings.Replace(hook, "hold", "none", 1)} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(mine, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		h.file(filepath.Join("b", name), content)
	}
	h.file("hold", "")
	h.start()
	h.do("DownloadBundle", h.spec("d-1", "k", "zip"))
	h.do("Install", h.spec("d-1", "k", "zip"))
	id := h.send("AfterInstall", h.spec("d-1", "k", "zip"))
	h.eventually("the hook runs", func() bool { return h.read("order") != "" })

	var out syncBuffer
	cmd := h.program("local", mine, "--config", h.config, "--deployment-group", "group-1", "--events", "AfterInstall")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h.eventually("the local deployment waits", func() bool { return strings.Contains(out.String(), "waits for another deployment of the group") })
	elsewhere := h.program("local", mine, "--config", h.config, "--deployment-group", "other", "--events", "DownloadBundle")
	var other bytes.Buffer
	elsewhere.Stdout, elsewhere.Stderr = &other, &other
	if err := elsewhere.Run(); err == nil || !strings.Contains(other.String(), "belongs to deployment group group-1") {
		t.Errorf("a local deployment over what another group has installed: %v\n%s", err, other.String())
	}
	if err := os.Remove(filepath.Join(h.dir, "hold")); err != nil {
		t.Fatal(err)
	}
	if c := h.await(id); c.Status != "Succeeded" {
		t.Errorf("the service's command: %+v", c)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if got := h.read("site/f"); got != "mine\n" {
		t.Errorf("installed is %q", got)
	}
	var order []string
	for line := range strings.Lines(h.read("order")) {
		who, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		if who != "d-1" {
			who = "local"
		}
		order = append(order, who+" "+what)
	}
	if diff := cmp.Diff([]string{"d-1 AfterInstall", "d-1 over", "local AfterInstall", "local over"}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	status, err := h.program("status", "--config", h.config).Output()
	if err != nil || !strings.Contains(string(status), "was deployed locally in place of the service's d-1") {
		t.Errorf("%v\n%s", err, status)
	}
	if c := h.do("AfterInstall", h.spec("d-1", "k", "zip")); c.Status != "Succeeded" {
		t.Errorf("the service's next command: %+v", c)
	}
}
