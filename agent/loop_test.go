package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"go.uber.org/zap/zapcore"

	"slipway/agent/control"
	"slipway/agent/control/controltest"
)

// P-37: polling goes on while commands are carried out; those of another group are carried out beside them, those of the same group
// one after the other.
func TestCommandsSideBySide(t *testing.T) {
	r := newRig(t)
	hold := "#!/bin/sh\necho \"begun $DEPLOYMENT_ID\" >>\"$OUT/proof\"\nmkfifo \"$OUT/gate\"\nread line <\"$OUT/gate\"\necho \"ended $DEPLOYMENT_ID\" >>\"$OUT/proof\"\n"
	r.shelf.put("slow", map[string]string{"appspec.yml": r.appspec("AfterInstall=s.sh", "ApplicationStart=p.sh"), "s.sh": hold, "p.sh": proof, "content/f": ""})
	r.shelf.put("quick", map[string]string{"appspec.yml": r.appspec("AfterInstall=p.sh"), "p.sh": proof, "content/f": ""})
	r.start()
	other := map[string]any{"DeploymentGroupId": "group-2"}
	r.do("DownloadBundle", r.spec("d-1", "slow"))
	r.do("DownloadBundle", r.spec("d-2", "quick", other))
	slow := r.send("AfterInstall", r.spec("d-1", "slow"))
	gate := filepath.Join(r.dir, "gate")
	eventually(t, "the slow script runs", func() bool { _, err := os.Stat(gate); return err == nil })
	behind := r.send("ApplicationStart", r.spec("d-1", "slow"))
	if c := r.do("AfterInstall", r.spec("d-2", "quick", other)); c.Status != control.Succeeded {
		t.Errorf("the other group's command = %+v", c)
	}
	if s, _ := r.service.State(behind); len(s.Completions) != 0 {
		t.Error("a command of the same group was carried out beside the first")
	}
	if err := os.WriteFile(gate, []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.await(slow)
	r.await(behind)
	if got := r.out("proof"); got != "begun d-1\nAfterInstall\nended d-1\nApplicationStart\n" {
		t.Errorf("order %q", got)
	}
}

// P-42 as replaced: a command that a poll brings while the agent stops is not acknowledged, and the next start carries it out. P-40:
// an empty answer ends the round and nothing else is called.
func TestCommandAtTheStop(t *testing.T) {
	r := newRig(t)
	r.start()
	eventually(t, "polls are answered", func() bool { return len(r.service.Calls()) > 2 })
	for _, c := range r.service.Calls() {
		if c.Operation != "PollHostCommand" {
			t.Errorf("%s was called though there is nothing to do", c.Operation)
		}
	}
	remove := r.service.Inject(controltest.Fault{Operation: "GetDeploymentSpecification", Delay: time.Minute})
	id := r.send("ApplicationStop", r.spec("d-1", "k"))
	eventually(t, "the command is delivered", func() bool { s, _ := r.service.State(id); return s.Deliveries > 0 })
	r.halt()
	remove()
	if s, _ := r.service.State(id); s.Acks != 0 || len(s.Completions) != 0 {
		t.Errorf("the stop answered the command: %+v", s)
	}
	r.start()
	if c := r.await(id); c.Status != control.Succeeded || c.Count != 1 {
		t.Errorf("after the next start: %+v", c)
	}
}

// A download in hand is finished at the stop, and reported before the agent leaves.
func TestStopDuringDownload(t *testing.T) {
	r := newRig(t)
	r.shelf.put("k", map[string]string{"appspec.yml": r.appspec(), "content/f": ""})
	began, hold := make(chan struct{}), make(chan struct{})
	r.shelf.gate = func() { close(began); <-hold }
	r.start()
	id := r.send("DownloadBundle", r.spec("d-1", "k"))
	<-began
	stopped := make(chan struct{})
	go func() { defer close(stopped); r.halt() }()
	eventually(t, "no more polls", func() bool {
		n := len(r.service.Calls())
		<-time.After(100 * time.Millisecond)
		return len(r.service.Calls()) == n
	})
	select {
	case <-stopped:
		t.Fatal("the agent left with a download in hand")
	default:
	}
	close(hold)
	<-stopped
	if s, _ := r.service.State(id); len(s.Completions) != 1 || s.Completions[0].Status != control.Succeeded {
		t.Errorf("reported %+v", s.Completions)
	}
}

// A poll that was asked before the service had a completion may bring its command once more: that is no news.
func TestLateDelivery(t *testing.T) {
	a, _ := watched(&fakeCommands{})
	cmd := &control.HostCommand{ID: "c", HostID: hostID, ExecutionID: "x", Name: "Install"}
	asked := time.Now()
	a.settle(cmd.ID)
	if a.take(t.Context(), cmd, asked) {
		t.Error("a command was taken again that was settled after the poll had been asked")
	}
}

// P-44, X-16: an appspec that cannot be read is acknowledged as work to do, and then fails the event with its place. P-38: only
// the stop ends the loop; many rounds do not.
func TestBrokenAppSpecIsAcknowledged(t *testing.T) {
	r := newRig(t)
	r.shelf.put("k", map[string]string{"appspec.yml": r.appspec(), "content/f": ""})
	r.start()
	spec := r.spec("d-1", "k")
	r.do("DownloadBundle", spec)
	name := filepath.Join(r.root(), "group-1/d-1/deployment-archive/appspec.yml")
	if err := os.WriteFile(name, []byte("version: 0.0\nos: windows\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	id := r.send("AfterInstall", spec)
	c := r.await(id)
	if c.Status != control.Failed || c.Diagnostics.ErrorCode != 5 || !strings.Contains(c.Diagnostics.Message, "appspec.yml:2") {
		t.Errorf("completion %+v", c)
	}
	if s, _ := r.service.State(id); s.Acks != 1 || s.Noop {
		t.Errorf("acknowledged %d times, as no-op: %v", s.Acks, s.Noop)
	}
	if c := r.do("ApplicationStop", spec); c.Status != control.Succeeded {
		t.Errorf("the loop does not go on: %+v", c)
	}
}

// P-18, P-35 as replaced: TLS is always verified; a certificate that nobody vouches for is one clear line, and the agent lives on.
func TestUnknownAuthority(t *testing.T) {
	r := newRig(t)
	tls := httptest.NewTLSServer(r.service)
	t.Cleanup(tls.Close)
	client, err := control.NewHTTPClient(control.HTTPOptions{ReadTimeout: 5 * time.Second, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	commands, err := control.New(control.Options{
		Endpoint: tls.URL, Region: "us-east-1", HostID: hostID, Version: "TEST_1", HTTP: client, Log: r.log,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	a := New(Options{Commands: commands, HostID: hostID, Log: r.log, Pace: Pace{Min: 5 * time.Millisecond, Max: 10 * time.Millisecond}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); a.poll(ctx) }()
	eventually(t, "the link is down", func() bool { return a.Status().Link == Untrusted })
	cancel()
	<-ended
	var lines int
	for _, e := range r.logs.All() {
		if e.Level >= zapcore.WarnLevel {
			lines++
		}
	}
	if lines != 1 || !strings.Contains(a.Status().LinkText, "certificate") {
		t.Errorf("%d lines, link text %q", lines, a.Status().LinkText)
	}
}

// P-34: whatever fails a round counts the same way, and work in hand does not; a change of the kind of trouble is told once more.
func TestTroubleIsToldAtItsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeCommands{poll: func(n int) (*control.HostCommand, error) {
			switch {
			case n < 10:
				return nil, errors.New("dial tcp: lookup: no such host")
			case n < 20:
				return nil, apiError("AccessDeniedException", http.StatusBadRequest)
			default:
				return nil, nil
			}
		}}
		a, logs := watched(f)
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Hour)
		defer cancel()
		a.poll(ctx)
		var links []string
		for _, e := range logs.All() {
			if l, ok := e.ContextMap()["link"].(string); ok {
				links = append(links, l)
			} else {
				links = append(links, "online")
			}
		}
		if got := strings.Join(links, " "); got != "unreachable denied online" {
			t.Errorf("told: %s", got)
		}
	})
}

// What something between host and service answers, a proxy's page say, is no word of the service: nothing is given up, failed or lost for it.
func TestPagesOfAProxy(t *testing.T) {
	for _, status := range []int{200, 400, 404, 405, 413} {
		for _, operation := range []string{"GetDeploymentSpecification", "PutHostCommandAcknowledgement", "PutHostCommandComplete"} {
			t.Run(fmt.Sprintf("%d at %s", status, operation), func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				r.shelf.put("k", map[string]string{"appspec.yml": r.appspec("AfterInstall=p.sh"), "content/f": "", "p.sh": proof})
				r.start()
				spec := r.spec("d-1", "k")
				r.do("DownloadBundle", spec)
				r.service.Inject(controltest.Fault{Operation: operation, Times: 2, Status: status, Body: []byte("<html>No such host</html>")})
				id := r.send("AfterInstall", spec)
				if c := r.await(id); c.Status != control.Succeeded {
					t.Errorf("completion %s %+v", c.Status, c.Diagnostics)
				}
				if got := r.out("proof"); got != "AfterInstall\n" {
					t.Errorf("the script ran as %q", got)
				}
			})
		}
	}
}
