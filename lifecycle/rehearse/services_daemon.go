package rehearse

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// daemon is a service that was started.
type daemon struct {
	unit    string
	id      string // in the environment of all its processes
	pid     int    // the main process; 0: not known
	remains bool   // it is active without a process
	notes   []string

	mu    sync.Mutex // guards what follows
	cmd   *exec.Cmd  // of a main process that is a child; it is being waited for
	ended bool       // that process
	code  int        // its exit code
	done  chan struct{}
}

// await waits until no process of the service is left, or as long.
func (d *daemon) await(ctx context.Context, long time.Duration) {
	for end := time.Now().Add(long); time.Now().Before(end) && ctx.Err() == nil && len(d.processes()) > 0; {
		time.Sleep(lookTime)
	}
}

// kill ends what is left of the service.
func (d *daemon) kill() {
	for end := time.Now().Add(stopTime / 5); time.Now().Before(end); time.Sleep(lookTime) {
		pids := d.processes()
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func (d *daemon) running() bool {
	d.mu.Lock()
	child, ended := d.cmd != nil, d.ended
	d.mu.Unlock()
	if child {
		return !ended
	}
	return len(d.processes()) > 0
}

func (d *daemon) endedWell() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cmd == nil || d.code == 0
}

// processes are the pids of the service: those with its id in their environment, and what descends from them.
func (d *daemon) processes() []int {
	entries, _ := os.ReadDir("/proc")
	parents := map[int]int{}
	var pids []int
	mark := "INVOCATION_ID=" + d.id
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		text, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		p, state, err := parseStat(string(text))
		if err != nil || state == 'Z' || state == 'X' {
			continue
		}
		parents[pid] = p.parent
		if env, err := os.ReadFile("/proc/" + e.Name() + "/environ"); err == nil && slices.Contains(strings.Split(string(env), "\x00"), mark) {
			pids = append(pids, pid)
		}
	}
	for grown := true; grown; {
		grown = false
		for pid, parent := range parents {
			if slices.Contains(pids, parent) && !slices.Contains(pids, pid) {
				pids, grown = append(pids, pid), true
			}
		}
	}
	slices.Sort(pids)
	return pids
}

// findMain finds the main process of a service that has put itself into the background.
func (d *daemon) findMain(ctx context.Context, pidFile string) error {
	if strings.HasPrefix(pidFile, "/var/run/") {
		pidFile = strings.TrimPrefix(pidFile, "/var")
	} else if pidFile != "" && !filepath.IsAbs(pidFile) {
		pidFile = filepath.Join("/run", pidFile)
	}
	for {
		if pidFile != "" {
			if pid, err := strconv.Atoi(strings.TrimSpace(readText(pidFile))); err == nil && syscall.Kill(pid, 0) == nil {
				d.pid = pid
				return nil
			}
		} else if pids := d.processes(); len(pids) > 0 {
			d.pid = pids[0]
			return nil
		}
		if ctx.Err() != nil || pidFile == "" {
			return errors.New("it has put no process into the background")
		}
		time.Sleep(lookTime)
	}
}
