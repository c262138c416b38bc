package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"slipway/agent/control"
	"slipway/agent/control/controltest"
	"slipway/agent/lab"
)

// The secrets that are planted, by what they are. They are put together here so that no scanner takes them for real.
var planted = map[string]string{
	"id of a key":            "AKIA" + "Q3EGRIJKLMNOPQRS",
	"temporary id of a key":  "ASIA" + "Q3EGRIJKLMNOPQRS",
	"token of GitHub":        "ghp_" + strings.Repeat("aB3dE6", 6),
	"token of GitLab":        "glpat-" + strings.Repeat("xY9zW8", 4),
	"token of Slack":         "xox" + "b-123456789012-abcdefGHIJ",
	"web token":              "ey" + "JhbGciOiJIUzI1NiJ9.ey" + "JzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJlMTIz",
	"secret key of AWS":      "wJalrXUtnFEMIK7MDENGbPxRfiCYzQ3EGR",
	"session token":          "IQoJb3JpZ2luX2VjEJr0123456789abcdef",
	"password in an address": "url-Pa55word-9",
	"password that is set":   "set-Pa55word-8",
	"authorization":          "YWxhZGRpbjpvcGVuc2VzYW1l",
	"line of a private key":  "MIIEowIBAAKCAQEAzQ3EGRplantedplanted0123456789abcdefghij",
	"value of env_file":      "correct-horse-battery-staple",
	"long value of env_file": strings.Repeat("0f1e2d3c", 40),
	"agent's own secret key": "own/Secret+Key/Q3EGR0123456789abcdefghij",
	"token of github_token":  "of-the-token-file-0123456789",
}

// plantedLines are what a careless script prints of them.
func plantedLines() string {
	p := planted
	return strings.Join([]string{
		"using " + p["id of a key"] + " and " + p["temporary id of a key"],
		"export AWS_SECRET_ACCESS_KEY=" + p["secret key of AWS"],
		`{"SessionToken": "` + p["session token"] + `"}`,
		"clone https://x:" + p["token of GitHub"] + "@github.com/a/b " + p["token of GitLab"] + " " + p["token of Slack"],
		"jwt " + p["web token"],
		"DATABASE_URL=mysql://app:" + p["password in an address"] + "@db/app",
		"+ MYSQL_PASSWORD='" + p["password that is set"] + "'",
		"> Authorization: Basic " + p["authorization"],
		"-----BEGIN RSA PRIVATE KEY-----\n" + p["line of a private key"] + "\n-----END RSA PRIVATE KEY-----",
		"long " + p["long value of env_file"] + ", own " + p["agent's own secret key"] + ", file " + p["token of github_token"],
	}, "\n") + "\n"
}

// The scripts have no secret in them: they find all in their environment and outside of the deployment root.
const (
	carelessHead = "#!/bin/sh\ncat \"$OUT/planted\"\ncat \"$OUT/planted\" >&2\nenv\necho \"word $DB_WORD\"\n" +
		// Partial lines and huge ones, with a secret where a line is split.
		"printf 'part of a line: %.9s' \"$DB_WORD\"; sleep 0.1; printf '%s\\n' \"${DB_WORD#?????????}\"\n" +
		"for n in 65500 65520 65530 65536 73700; do head -c $n /dev/zero | tr '\\0' x; printf ' %s ' \"$DB_WORD\"; head -c 70000 /dev/zero | tr '\\0' y; echo; done\n" +
		"set -x; : \"$DB_WORD\"; set +x\n"
	carelessFails = carelessHead + "\"/$DB_WORD/no-such-command\"\nMYSQL_PASSWORD=$DB_WORD sh -c 'exit 5' || exit 5\n"
	// The left-over process has secrets in its arguments and holds the output.
	carelessLeaves = carelessHead + "sh -c 'cat \"$OUT/hold\"; :' \"$DB_WORD\" \"--password=$DB_LONG\" \"$(head -n 1 \"$OUT/planted\")\" &\nprintf 'no line end %s' \"$DB_WORD\"\n"
)

// TestSecrecy plants secrets wherever a script may get them from, lets careless scripts spill them, and looks for them wherever somebody may look:
// logs, the bytes that go to the service, all of the deployment root, the process table.
func TestSecrecy(t *testing.T) {
	h, sent := newSecretHost(t)
	h.put("k", zipped(map[string]string{
		"content/f": "x", "appspec.yml": h.appspec("AfterInstall=leaves.sh", "ApplicationStart=fails.sh"), "leaves.sh": carelessLeaves, "fails.sh": carelessFails,
	}))
	h.start()
	spec := h.spec("d-1", "k", "zip")
	for _, event := range []string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install"} {
		if c := h.do(event, spec); c.Status != control.Succeeded {
			t.Fatalf("%s: %+v", event, c)
		}
	}
	if c := h.do("AfterInstall", spec); c.Status != control.Succeeded {
		t.Fatalf("AfterInstall: %+v", c)
	}
	h.noSecret("process table of agent and shims", []byte(h.processes())) // while the left-over process keeps a shim there
	c := h.do("ApplicationStart", spec)
	if c.Status != control.Failed || !strings.Contains(c.RawDiagnostics.Payload, "exit code 5") || !strings.Contains(c.RawDiagnostics.Payload, "[redacted]") {
		t.Errorf("ApplicationStart: %+v", c)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "hold"), nil, 0o600); err != nil { // which lets the left-over process end
		t.Error(err)
	}
	if !strings.Contains(h.output.String(), "holds its output") || !strings.Contains(h.output.String(), `"debug"`) {
		t.Error("the agent's log does not tell of the left-over process, or of nothing at debug level")
	}
	h.noSecret("agent's log", []byte(h.output.String()))
	h.noSecret("what was sent to the service", sent())
	if body := sent(); !bytes.Contains(body, []byte("PutHostCommandComplete")) || !bytes.Contains(body, []byte("[redacted]")) {
		t.Error("no report is among what was sent")
	}
	scripts := h.read("root/group-1/d-1/logs/scripts.log")
	if n := strings.Count(scripts, "[redacted]"); n < 40 {
		t.Errorf("only %d secrets were redacted in the log of the scripts:\n%.3000s", n, scripts)
	}
	for _, dir := range []string{"root", "log", "pid"} {
		h.noSecretIn(filepath.Join(h.dir, dir))
	}
	show, err := h.program("show", "d-1", "--config", h.config).CombinedOutput()
	if err != nil {
		t.Errorf("slipway show: %v: %s", err, show)
	}
	h.noSecret("slipway show", show)
}

// secretHost is a host with secrets in its files, and a service whose connections are recorded.
type secretHost struct{ *host }

func newSecretHost(t *testing.T) (h *secretHost, sent func() []byte) {
	h = &secretHost{newHost(t)}
	service, err := controltest.New(controltest.Options{Region: "us-east-1", Keys: map[string]string{"AKIDEXAMPLE": planted["agent's own secret key"]}})
	if err != nil {
		t.Fatal(err)
	}
	address, err := service.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { service.Close() })
	h.service = service
	behind, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all bytes.Buffer
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(behind)
		r.Out.Host = r.In.Host // which is signed
	}}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mu.Lock()
		fmt.Fprintf(&all, "%s %s\n%v\n%s\n", r.Method, r.URL, r.Header, body)
		mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	h.file("onprem.yml", "---\nregion: us-east-1\niam_user_arn: "+hostID+"\naws_access_key_id: AKIDEXAMPLE\naws_secret_access_key: "+planted["agent's own secret key"]+"\n")
	h.file("planted", plantedLines())
	h.file("fleet.env", "DB_WORD="+planted["value of env_file"]+"\nDB_LONG='"+planted["long value of env_file"]+"'\n")
	h.file("token", planted["token of github_token"]+"\n")
	if err := syscall.Mkfifo(filepath.Join(h.dir, "hold"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.extra = []string{
		"SLIPWAY_DEPLOY_CONTROL_ENDPOINT=" + front.URL, "SLIPWAY_LOG_LEVEL=debug", "SLIPWAY_HOOKS_ENV_FILE=" + h.dir + "/{group}.env",
		"SLIPWAY_GITHUB_TOKEN_FILE=" + h.dir + "/token", "SLIPWAY_HOOKS_OPEN_OUTPUT_WAIT=50ms",
	}
	return h, func() []byte {
		mu.Lock()
		defer mu.Unlock()
		return bytes.Clone(all.Bytes())
	}
}

// noSecret reports each planted secret that is in a text.
func (h *secretHost) noSecret(where string, text []byte) {
	h.t.Helper()
	const part = 12 // of a secret is as bad as all of it
	for what, secret := range planted {
		for _, piece := range []string{secret, secret[:min(part, len(secret))], secret[max(0, len(secret)-part):]} {
			if i := bytes.Index(text, []byte(piece)); i >= 0 {
				h.t.Errorf("%s has the %s: …%.200s…", where, what, text[max(0, i-80):])
				break
			}
		}
	}
}

// noSecretIn looks into every file of a folder, and at the names. What a bundle has in it is there.
func (h *secretHost) noSecretIn(dir string) {
	h.t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		h.noSecret("name of "+path, []byte(path))
		if !d.Type().IsRegular() {
			return nil
		}
		files++
		text, err := os.ReadFile(path)
		h.noSecret(path, text)
		return err
	})
	if err != nil || files == 0 {
		h.t.Errorf("%s: %d files, %v", dir, files, err)
	}
}

// processes are command line and environment of the agent and of its shims, as ps shows them.
func (h *secretHost) processes() string {
	h.t.Helper()
	var out strings.Builder
	shims := 0
	entries, err := os.ReadDir("/proc")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		stat, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		_, rest, _ := bytes.Cut(stat, []byte(") "))
		fields := bytes.Fields(rest)
		isShim := len(fields) > 1 && string(fields[1]) == strconv.Itoa(h.cmd.Process.Pid) && bytes.Contains(cmdline, []byte(shimVerb))
		if pid != h.cmd.Process.Pid && !isShim {
			continue
		}
		environ, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err != nil {
			h.t.Errorf("process %d: %v", pid, err)
		}
		if isShim {
			shims++
			if len(environ) > 0 {
				h.t.Errorf("the shim %d has an environment: %q", pid, environ)
			}
		}
		fmt.Fprintf(&out, "%s\n%s\n", cmdline, environ)
	}
	if shims == 0 {
		h.t.Error("no shim is there to be looked at")
	}
	return out.String()
}

// What a script learns of the fleet, and that it cannot give away the role's keys that the agent works with: it fetches them from the metadata
// service by itself and prints them.
func TestFleetVariables(t *testing.T) {
	h := newLabHost(t, t.TempDir())
	instance := h.lab.Hosts()[0]
	_, err := h.lab.DeclareHost(lab.Host{ID: instance.ID, LifecycleState: "InService"})
	h.must(err)
	h.put("v", zipped(map[string]string{
		"content/f": "x", "appspec.yml": h.appspec("AfterInstall=s.sh"),
		"s.sh": `#!/bin/sh
echo "$SLIPWAY_TARGET_LIFECYCLE_STATE $SLIPWAY_INSTANCE_ID $SLIPWAY_REGION" >"$OUT/fleet"
token=$(curl -sS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$IMDS/latest/api/token")
base=$IMDS/latest/meta-data/iam/security-credentials/
curl -sS -H "X-aws-ec2-metadata-token: $token" "$base$(curl -sS -H "X-aws-ec2-metadata-token: $token" "$base")" |
	sed -n 's/.*"\(AccessKeyId\|SecretAccessKey\|Token\)": *"\([^"]*\)".*/\2/p' >"$OUT/keys"
sed 's/^/the key is /' "$OUT/keys"
`,
	}))
	h.extra = []string{"IMDS=" + strings.TrimSuffix(h.lab.Endpoints().Metadata[0], "/"), "OUT=" + h.dir}
	h.start()
	h.bring("v")
	if got, want := h.read("fleet"), "InService "+instance.Name+" "+h.lab.Info().Region+"\n"; got != want {
		t.Errorf("the script learnt %q, want %q", got, want)
	}
	keys := strings.Fields(h.read("keys"))
	logs, err := filepath.Glob(filepath.Join(h.under, "*", "*", "logs", "scripts.log"))
	h.must(err)
	if len(keys) != 3 || len(logs) != 1 {
		t.Fatalf("keys %q, logs %q", keys, logs)
	}
	log, err := os.ReadFile(logs[0])
	h.must(err)
	if n := bytes.Count(log, []byte("[stdout]the key is [redacted]\n")); n != 3 {
		t.Errorf("%d keys were redacted, want 3:\n%s", n, log)
	}
}
