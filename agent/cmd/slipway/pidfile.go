package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pidFile is the pid file of the official agent and the lock beside it: by them its tools, and ours, see that an agent runs on this
// host, whichever it is (L-32..L-34, V-97).
type pidFile struct {
	path   string
	lock   *os.File
	absent error // why the file could not be written, though the lock is held
}

// takePID takes the lock and writes the pid file. Where the configured folder cannot be used the system's temporary folder serves,
// as the official agent does (L-32).
func takePID(dir, program string) (*pidFile, error) {
	p, err := takePIDIn(dir, program)
	if err != nil && (errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS)) {
		return takePIDIn(os.TempDir(), program)
	}
	return p, err
}

func takePIDIn(dir, program string) (*pidFile, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of the pid file: %w (pid_dir says where it is)", err)
	}
	path := filepath.Join(dir, program+".pid")
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the pid file: %w", err)
	}
	if err := lockSoon(lock); err != nil {
		lock.Close()
		return nil, fmt.Errorf("another agent runs on this host (%s): stop it first (systemctl stop codedeploy-agent, or slipway status)", runningPID(path))
	}
	if pid := runningPID(path); pid != "no pid" && officialAgent(pid) {
		lock.Close()
		return nil, fmt.Errorf("the official agent runs on this host as process %s: stop it first (systemctl stop codedeploy-agent)", pid)
	}
	p := &pidFile{path: path, lock: lock}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		p.absent = fmt.Errorf("write the pid file: %w", err)
	}
	switch full := errors.Is(p.absent, syscall.ENOSPC) || errors.Is(p.absent, syscall.EDQUOT); {
	case full: // a host whose disk is full needs its agent no less: for what it had in hand, for the balancer, for the deployment that mends it
		os.Remove(path)
	case p.absent != nil:
		lock.Close()
		return nil, p.absent
	}
	return p, nil
}

// leftTime is for a lock that an agent left which was killed while it was starting a process: that has it, with all other descriptors,
// until it executes its own program.
const leftTime = 500 * time.Millisecond

func lockSoon(f *os.File) error {
	for tried := time.Now(); ; time.Sleep(leftTime / 100) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil || !errors.Is(err, syscall.EWOULDBLOCK) || time.Since(tried) > leftTime {
			return err
		}
	}
}

func runningPID(path string) string {
	data, err := os.ReadFile(path)
	if pid := strings.TrimSpace(string(data)); err == nil && pid != "" {
		return pid
	}
	return "no pid"
}

// officialAgent reports whether a process is the official agent: version 2 holds no lock (V-89), and a pid may have been used again (L-34).
func officialAgent(pid string) bool {
	if _, err := strconv.Atoi(pid); err != nil || pid == strconv.Itoa(os.Getpid()) {
		return false
	}
	cmdline, err := os.ReadFile("/proc/" + pid + "/cmdline")
	return err == nil && officialCommand(string(cmdline))
}

// officialCommand reports whether a command line is the official agent's: its title (P-91), its binary, or the script of its binary. That
// a path below /opt/codedeploy-agent or /etc/codedeploy-agent is named says nothing: ours names them too.
func officialCommand(cmdline string) bool {
	const name = "codedeploy-agent"
	if strings.HasPrefix(cmdline, name) {
		return true
	}
	for arg := range strings.SplitSeq(cmdline, "\x00") {
		if filepath.Base(arg) == name {
			return true
		}
	}
	return false
}

// release removes the pid file and gives the lock free. The lock file stays: removing it would let two agents lock two files of one name.
func (p *pidFile) release() {
	os.Remove(p.path)
	p.lock.Close()
}
