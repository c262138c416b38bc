package provision

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// holdLock makes the test binary a process that holds a lock, as a package manager does.
const holdLock = "SLIPWAY_TEST_HOLD_LOCK"

func TestMain(m *testing.M) {
	if name := os.Getenv(holdLock); name != "" {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err == nil {
			err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		}
		if err != nil {
			os.Exit(1)
		}
		_, _ = os.Stdout.WriteString("locked\n")
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// lockedByChild starts a process that holds a lock on a file until the test ends, or until release is called.
func lockedByChild(t *testing.T, name string) (pid int) {
	t.Helper()
	pid, _ = childWithLock(t, name)
	return pid
}

func childWithLock(t *testing.T, name string) (pid int, release func()) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdLock+"="+name)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "locked\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	ended := false
	release = func() {
		if !ended {
			ended = true
			in.Close()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(release)
	return cmd.Process.Pid, release
}

// A package manager in use is waited for, with a bound, and its user is named.
func TestAwaitManager(t *testing.T) {
	t.Parallel()
	root := fixture(t, releases["debian12"], nil)
	h := open(t, root)
	if err := h.awaitManager(t.Context()); err != nil {
		t.Errorf("nobody uses it, and awaitManager() = %v", err)
	}
	pid, release := childWithLock(t, filepath.Join(root, "/var/lib/dpkg/lock-frontend"))
	err := h.awaitManager(t.Context())
	if err == nil || !strings.Contains(err.Error(), "in use by pid "+strconv.Itoa(pid)+" ("+os.Args[0]) {
		t.Errorf("awaitManager() = %v, want the name of pid %d", err, pid)
	}
	h.lockWait = time.Minute
	waiting := make(chan string, 1)
	h.say = func(line string) { waiting <- line }
	ended := make(chan error)
	go func() { ended <- h.awaitManager(t.Context()) }()
	if line := <-waiting; !strings.Contains(line, "waiting for the package manager, in use by pid "+strconv.Itoa(pid)) {
		t.Errorf("it said %q", line)
	}
	release()
	if err := <-ended; err != nil {
		t.Errorf("after the other has ended: %v", err)
	}
	put(t, root, "/run/yum.pid", "1\n") // which is no package manager
	if err := h.awaitManager(t.Context()); err != nil {
		t.Errorf("a stale pid file: %v", err)
	}
}

func TestPortFree(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	err = portFree(port, "httpd.service")
	if err == nil || !strings.Contains(err.Error(), "port "+strconv.Itoa(port)+" is taken by pid "+strconv.Itoa(os.Getpid())+" ("+os.Args[0]) {
		t.Errorf("portFree() = %v, want this process", err)
	}
	l.Close()
	if err := portFree(port, "httpd.service"); err != nil {
		t.Errorf("portFree() = %v for a free port", err)
	}
}

func TestListeners(t *testing.T) {
	t.Parallel()
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1001 1 0 100 0 0 10 0
   1: 0100007F:0050 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 1002 1 0 100 0 0 10 0
   2: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1003 1 0 100 0 0 10 0
   3: rubbish
`
	if got := listeners(table, 80); !slices.Equal(got, []string{"1001"}) {
		t.Errorf("listeners(80) = %q", got)
	}
	if got := listeners(table, 8080); !slices.Equal(got, []string{"1003"}) {
		t.Errorf("listeners(8080) = %q", got)
	}
}

// A link that the web server's user could have made is not followed, neither by a read nor by a change of owner.
func TestLinksOfOthersAreNotFollowed(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root: links of another user have to be made")
	}
	root := fixture(t, releases["debian12"], map[string]string{"/etc/passwd": "root:x:0:0::/:\nweb:x:33:33::/:\n", "/etc/group": "root:x:0:\nweb:x:33:\n", "/secret/file": "s"})
	site := filepath.Join(root, "srv")
	err := errors.Join(os.Mkdir(site, 0o755), os.Chown(site, 33, 33), os.Symlink("/secret", filepath.Join(site, "link")), os.Lchown(filepath.Join(site, "link"), 33, 33))
	if err != nil {
		t.Fatal(err)
	}
	h := open(t, root)
	if _, err := h.read("/srv/link/file"); err == nil || !strings.Contains(err.Error(), "is not followed") {
		t.Errorf("read() through the link = %v", err)
	}
	for _, name := range []string{"/srv/link", "/srv/link/below"} {
		if err := (&folder{path: name, owner: "web"}).apply(t.Context(), h); err == nil {
			t.Errorf("folder %s was made through the link", name)
		}
	}
	if info, err := os.Stat(filepath.Join(root, "secret")); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("the target of the link has another owner: %v", err)
	}
	// Links of root's are followed, and stay within the tree.
	if err := os.Symlink("/secret", filepath.Join(root, "data")); err != nil {
		t.Fatal(err)
	}
	if data, err := h.read("/data/../data/file"); err != nil || string(data) != "s" {
		t.Errorf("read() = %q, %v", data, err)
	}
	if err := errors.Join(os.Symlink("b", filepath.Join(root, "a")), os.Symlink("a", filepath.Join(root, "b"))); err != nil {
		t.Fatal(err)
	}
	if _, err := h.read("/a"); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a circle of links: %v", err)
	}
}

func TestSetLines(t *testing.T) {
	t.Parallel()
	list := []setting{{"A", "1"}, {"PASSWORD", " a\"b"}}
	for _, tt := range []struct{ old, want string }{
		{"", "# For the deployment scripts. slipway provision sets what its profile knows and leaves other lines alone.\nA=1\nPASSWORD=\" a\"b\"\n"},
		{"# mine\nB=2\nA=0\nA=00\n", "# mine\nB=2\nA=1\nPASSWORD=\" a\"b\"\n"},
		{"PASSWORD=x", "PASSWORD=\" a\"b\"\nA=1\n"},
	} {
		got, err := setLines(list)(tt.old)
		if err != nil || got != tt.want {
			t.Errorf("setLines(%q) = %q, %v, want %q", tt.old, got, err, tt.want)
		}
		if again, _ := setLines(list)(got); again != got {
			t.Errorf("a second time: %q", again)
		}
		if shown := hideSecrets(got, tt.old); strings.Contains(shown, "a\"b") {
			t.Errorf("shown: %q", shown)
		}
	}
	if a, b := hideSecrets("PASSWORD=1\n", "PASSWORD=2\n"), hideSecrets("PASSWORD=2\n", "PASSWORD=2\n"); a == b {
		t.Error("another password does not show in the diff")
	}
}

func TestSmallReaders(t *testing.T) {
	t.Parallel()
	status := "Package: a\nStatus: install ok installed\n\nPackage: b\nStatus: deinstall ok config-files\n\nPackage: c\nStatus: install ok half-configured\n"
	if diff := cmp.Diff(map[string]bool{"a": true}, dpkgInstalled(status)); diff != "" {
		t.Errorf("dpkgInstalled() (-want +got):\n%s", diff)
	}
	const repo = "[amzn2extra-php8.1]\nenabled = 0\n\n[amzn2extra-php8.2]\nname = x\nenabled = 1\n[other]\nenabled=0\n"
	if got := iniValue(repo, "amzn2extra-php8.2", "enabled") + iniValue(repo, "amzn2extra-php8.1", "enabled") + iniValue(repo, "none", "enabled"); got != "10" {
		t.Errorf("iniValue() = %q", got)
	}
	unit := "[Unit]\nWantedBy=not.target\n[Install]\nWantedBy=multi-user.target other.target\nRequiredBy=x.target\n"
	want := []string{linksFolder + "/multi-user.target.wants/a.service", linksFolder + "/other.target.wants/a.service", linksFolder + "/x.target.requires/a.service"}
	if diff := cmp.Diff(want, wantedBy("a.service", unit)); diff != "" {
		t.Errorf("wantedBy() (-want +got):\n%s", diff)
	}
	for in, want := range map[string]string{"UTF-8": "UTF-8", "Asia/Tokyo": `"Asia/Tokyo"`, "": `""`, `a"b`: `"a\"b"`, "${PATH}": `"\${PATH}"`, "a;b": `"a;b"`, "128M": "128M"} {
		if got := iniQuoted(in); got != want {
			t.Errorf("iniQuoted(%q) = %s, want %s", in, got, want)
		}
	}
}

// A program is bounded, ends with all that it started, and says its last words.
func TestRun(t *testing.T) {
	t.Parallel()
	m := machine{&tree{"/"}}
	r, err := m.run(t.Context(), command{argv: []string{"sh", "-c", "cat; echo $X; echo err >&2; exit 3"}, stdin: "in\n", env: []string{"X=y"}})
	if err != nil || r.code != 3 || r.out != "in\ny\n" || !strings.Contains(r.all, "err\n") {
		t.Errorf("run() = %+v, %v", r, err)
	}
	_, err = m.run(t.Context(), command{argv: []string{"sh", "-c", "echo last words; sleep 60 & wait"}, bound: 300 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "no end after 300ms") || !strings.Contains(err.Error(), "last words") {
		t.Errorf("run() = %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("told to stop"))
	if _, err := m.run(ctx, command{argv: []string{"sleep", "60"}}); err == nil || !strings.Contains(err.Error(), "told to stop") {
		t.Errorf("run() = %v", err)
	}
	if r, err := m.run(ctx, command{argv: []string{"echo", "on"}, finish: true}); err != nil || r.out != "on\n" {
		t.Errorf("a package manager in the middle: %+v, %v", r, err)
	}
	if _, err := m.run(t.Context(), command{argv: []string{"no-such-program"}}); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("run() = %v", err)
	}
}

// What the machine tells is not always well-formed.
func FuzzReaders(f *testing.F) {
	f.Add("ID=debian\nVERSION_ID=\"12\"\n", "ID")
	f.Add("Package: a\nStatus: install ok installed\n\n", "a")
	f.Add("   0: 00000000:0050 00000000:0000 0A 0:0 00:0 0 0 0 1001\n", "1001")
	f.Add("[Install]\nWantedBy=multi-user.target\n", "a.service")
	f.Add("A=1\nPASSWORD=x\n", "PASSWORD")
	f.Fuzz(func(t *testing.T, text, name string) {
		osRelease(text)
		dpkgInstalled(text)
		iniValue(text, name, name)
		lastLines(text)
		for _, l := range wantedBy("a.service", text) {
			if !strings.HasPrefix(l, "/") {
				t.Errorf("wantedBy() gives %q", l)
			}
		}
		for _, inode := range listeners(text, 80) {
			if !strings.Contains(text, inode) {
				t.Errorf("listeners() gives %q", inode)
			}
		}
		if strings.ContainsAny(name, "=\n\r") || name != strings.TrimSpace(name) || name == "" {
			return
		}
		once, err := setLines([]setting{{name, "v"}})(text)
		if err != nil {
			t.Fatal(err)
		}
		if twice, _ := setLines([]setting{{name, "v"}})(once); twice != once || !strings.Contains("\n"+once, "\n"+name+"=v\n") {
			t.Errorf("setLines(%q) of %q gives %q, then %q", name, text, once, twice)
		}
	})
}
