package main

import (
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"slipway/agent"
)

// Every command line of the program, as people meet it: testdata/script/*.txtar. Scripts run the test binary under the name slipway.
//
// Commands of these scripts beside testscript's own:
//
//	exits CODE COMMAND…   runs a command that has to end with that code
//	await PATTERN FILE    waits until a file holds what matches
//	sigterm PIDFILE       asks the process whose pid is in the file to end
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "../../../testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup:               setUpScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": scriptExits, "await": scriptAwait, "sigterm": scriptTerminate,
		},
	})
}

// setUpScript puts a slipway on the PATH, and takes away what the machine of the test could say about itself.
func setUpScript(env *testscript.Env) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	bin := filepath.Join(env.WorkDir, ".bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(self, filepath.Join(bin, "slipway")); err != nil {
		return err
	}
	if err := os.Symlink(self, filepath.Join(bin, localName)); err != nil {
		return err
	}
	env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
	env.Setenv(asSlipway, "1")
	env.Setenv("VERSION", buildVersion())
	// Nobody listens on port 1 of the loopback interface.
	env.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")
	return nil
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	// A daemon that should have refused to start would go on for ever.
	if err := ts.Exec("timeout", append([]string{"-k", "1", "30"}, args[1:]...)...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await PATTERN FILE")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		data, err := os.ReadFile(ts.MkAbs(args[1]))
		if err == nil && pattern.Match(data) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			ts.Fatalf("%s holds nothing that matches %s: %v\n%s", args[1], args[0], err, data)
		}
	}
}

func scriptTerminate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sigterm PIDFILE")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGTERM))
}

// docs/health.md lists every metric of ours, and nothing else; docs/operations.md every state of the link.
func TestDocsNameWhatIsTold(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.put("k", zipped(map[string]string{"appspec.yml": h.appspec("AfterInstall=s.sh"), "content/f": "", "s.sh": "#!/bin/sh\n"}))
	app := newApplication(t)
	h.extra = []string{"SLIPWAY_HEALTH_PROBE_URL=" + app.URL}
	h.start()
	for _, event := range []string{"DownloadBundle", "AfterInstall"} {
		h.do(event, h.spec("d-1", "k", "zip"))
	}
	told := map[string]bool{}
	for line := range strings.Lines(fetch(t, h.listener()+"/metrics")) {
		if name := regexp.MustCompile(`^slipway_[a-z_]+`).FindString(line); name != "" {
			told[regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")] = true
		}
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(slipway_[a-z_]+)").FindAllStringSubmatch(document(t, "health.md"), -1) {
		documented[m[1]] = true
	}
	if diff := cmp.Diff(told, documented); diff != "" || len(told) == 0 {
		t.Errorf("docs/health.md (-told +documented):\n%s", diff)
	}
	operations := document(t, "operations.md")
	for _, link := range []agent.Link{
		agent.Connecting, agent.Online, agent.Unreachable, agent.Untrusted, agent.Unsigned, agent.Denied, agent.Throttled, agent.Skewed, agent.Stopped,
	} {
		if !strings.Contains(operations, "| `"+string(link)+"` |") {
			t.Errorf("docs/operations.md does not tell what the link %q means", link)
		}
	}
}

func document(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../../docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func fetch(t testing.TB, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
