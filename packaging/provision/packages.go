package provision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// packages are installed in one transaction: all of them or none. A name may be several, by |: the first is installed, any will do.
type packages struct{ names []string }

func (p *packages) check(ctx context.Context, h *Host) ([]Change, error) {
	missing, err := p.missing(ctx, h)
	var changes []Change
	for _, name := range missing {
		changes = append(changes, property("package", name, "install", "absent", "installed"))
	}
	return changes, err
}

func (p *packages) missing(ctx context.Context, h *Host) ([]string, error) {
	installed, err := h.installed(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask which packages are installed: %w", err)
	}
	var missing []string
	for _, name := range p.names {
		first, _, _ := strings.Cut(name, "|")
		there := false
		for one := range strings.SplitSeq(name, "|") {
			has, err := installed(one)
			if err != nil {
				return nil, fmt.Errorf("ask whether the package %s is installed: %w", one, err)
			}
			there = there || has
		}
		if !there {
			missing = append(missing, first)
		}
	}
	return missing, nil
}

// installed gives a function that knows which packages there are.
func (h *Host) installed(ctx context.Context) (func(name string) (bool, error), error) {
	if h.platform.manager == "apt" {
		data, err := h.read("/var/lib/dpkg/status")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		list := dpkgInstalled(string(data))
		return func(name string) (bool, error) { return list[name], nil }, nil
	}
	if !h.exists("/var/lib/rpm") && !h.exists("/usr/lib/sysimage/rpm") {
		return func(string) (bool, error) { return false, nil }, nil
	}
	return func(name string) (bool, error) {
		r, err := h.run(ctx, command{argv: []string{"rpm", "-q", "--whatprovides", name}})
		if err == nil && r.code != 0 && !strings.Contains(r.all, "no package provides") {
			err = fmt.Errorf("rpm -q ended with status %d%s", r.code, lastLines(r.all))
		}
		return r.code == 0, err
	}, nil
}

// dpkgInstalled reads dpkg's own list. A package that was only unpacked is not installed.
func dpkgInstalled(status string) map[string]bool {
	list := map[string]bool{}
	name := ""
	for line := range strings.Lines(status) {
		key, v, _ := strings.Cut(strings.TrimRight(line, "\n"), ": ")
		switch key {
		case "Package":
			name = v
		case "Status":
			if f := strings.Fields(v); len(f) == 3 && f[2] == "installed" {
				list[name] = true
			}
		case "":
			name = ""
		}
	}
	return list
}

// managerBound is how long a package manager may take; a slow mirror is no reason to kill it in the middle.
const managerBound = 30 * time.Minute

func (p *packages) apply(ctx context.Context, h *Host) error {
	missing, err := p.missing(ctx, h)
	if err != nil || len(missing) == 0 {
		return err
	}
	if err := h.awaitManager(ctx); err != nil {
		return err
	}
	h.say("installing " + strings.Join(missing, " "))
	if h.platform.manager == "apt" {
		return h.aptInstall(ctx, missing)
	}
	tool := h.platform.manager
	c := command{argv: []string{tool, "-y", "install"}, bound: managerBound, finish: true}
	if h.root != "/" && h.has(tool) == "" {
		c.host = true
		c.argv = []string{tool, "-y", "--installroot=" + h.root, "--releasever=" + h.release, "install"}
	}
	c.argv = append(c.argv, missing...)
	return h.manage(ctx, c, missing)
}

func (h *Host) aptInstall(ctx context.Context, missing []string) error {
	if h.has("apt-get") == "" {
		return fmt.Errorf("install %s: %s has no apt-get of its own", strings.Join(missing, " "), h.root)
	}
	release, err := h.keepServicesDown()
	if err != nil {
		return err
	}
	defer release()
	env := []string{"DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "APT_LISTCHANGES_FRONTEND=none"}
	// Not being able to refresh the lists is no failure yet: what is wanted may be in the old ones.
	stale, err := h.run(ctx, command{argv: []string{"apt-get", "-q", "update"}, env: env, bound: managerBound})
	if err != nil {
		return err
	}
	argv := append([]string{"apt-get", "-q", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold", "-o", "DPkg::Lock::Timeout=30", "install"}, missing...)
	err = h.manage(ctx, command{argv: argv, env: env, bound: managerBound, finish: true}, missing)
	if err != nil && stale.code != 0 {
		err = fmt.Errorf("%w\n  the lists of packages could not be refreshed either:%s", err, lastLines(stale.all))
	}
	return err
}

// manage runs the package manager and tells its own last words when it fails.
func (h *Host) manage(ctx context.Context, c command, missing []string) error {
	r, err := h.run(ctx, c)
	if err != nil {
		return err
	}
	if r.code != 0 {
		return fmt.Errorf("%s could not install %s; its last words:%s", c.argv[0], strings.Join(missing, " "), lastLines(r.all))
	}
	return nil
}

// policy is what invoke-rc.d of Debian asks whether a service may be started.
const policy = "/usr/sbin/policy-rc.d"

// keepServicesDown tells Debian's packages not to start services where none can run.
func (h *Host) keepServicesDown() (release func(), err error) {
	if h.systemd || h.exists(policy) {
		return func() {}, nil
	}
	if err := h.write(policy, []byte("#!/bin/sh\n# "+headline+" for the time of an installation.\nexit 101\n"), newFolderMode, 0, 0); err != nil {
		return nil, fmt.Errorf("keep services from being started: %w", err)
	}
	return func() { _ = h.remove(policy) }, nil
}

// releaseServices takes away what an apply left that was ended in the middle of an installation.
func (h *Host) releaseServices() error {
	data, err := h.read(policy)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !strings.Contains(string(data), headline) {
		return nil
	}
	if err == nil {
		err = h.remove(policy)
	}
	return err
}

// extras switches on the sources that are off by default, before anything is installed from them.
type extras struct {
	kind   string
	topics []string
}

func (e *extras) check(_ context.Context, h *Host) ([]Change, error) {
	var changes []Change
	for _, topic := range e.topics {
		on, err := e.enabled(h, topic)
		if err != nil {
			return nil, err
		}
		if !on {
			changes = append(changes, property("source", topic, "enable", "disabled", "enabled"))
		}
	}
	return changes, nil
}

func (e *extras) enabled(h *Host, topic string) (bool, error) {
	name, section, key, want := "/etc/yum.repos.d/amzn2-extras.repo", "amzn2extra-"+topic, "enabled", "1"
	if e.kind == sourceModule {
		module, stream, _ := strings.Cut(topic, ":")
		name, section, key, want = "/etc/dnf/modules.d/"+module+".module", module, "stream", stream
	}
	data, err := h.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return iniValue(string(data), section, key) == want, err
}

// iniValue finds a value in a file of sections.
func iniValue(text, section, key string) string {
	in, found := false, ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			in = line == "["+section+"]"
			continue
		}
		if k, v, ok := strings.Cut(line, "="); in && ok && strings.TrimSpace(k) == key {
			found = strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return found
}

func (e *extras) apply(ctx context.Context, h *Host) error {
	if err := h.awaitManager(ctx); err != nil {
		return err
	}
	for _, topic := range e.topics {
		if on, err := e.enabled(h, topic); err != nil || on {
			if err != nil {
				return err
			}
			continue
		}
		steps := [][]string{{"amazon-linux-extras", "enable", topic}}
		if e.kind == sourceModule {
			module, _, _ := strings.Cut(topic, ":")
			steps = [][]string{{"dnf", "-y", "module", "reset", module}, {"dnf", "-y", "module", "enable", topic}}
		}
		for _, argv := range steps {
			r, err := h.run(ctx, command{argv: argv, bound: managerBound, finish: true})
			if err != nil {
				return err
			}
			if r.code != 0 {
				return fmt.Errorf("%s ended with status %d; its last words:%s", strings.Join(argv, " "), r.code, lastLines(r.all))
			}
		}
	}
	return nil
}

// awaitManager waits until nobody else uses the package manager, at most as long as the host's options say, and says whom it waits for.
func (h *Host) awaitManager(ctx context.Context) error {
	deadline := time.Now().Add(h.lockWait)
	said := ""
	for {
		who, err := h.managerUser()
		if err != nil || who == "" {
			return err
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("the package manager is in use by %s, for longer than %s: wait for it to end and run this again", who, max(h.lockWait, 0))
		}
		if who != said {
			said = who
			h.say(fmt.Sprintf("waiting for the package manager, in use by %s (at most %s)", who, h.lockWait))
		}
		const look = 200 * time.Millisecond
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(min(look, left)):
		}
	}
}

// lockFiles are held with fcntl by apt and dpkg, and by rpm; pidFiles name the process of dnf and yum.
var (
	lockFiles = []string{"/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock", "/var/lib/rpm/.rpm.lock", "/usr/lib/sysimage/rpm/.rpm.lock"}
	pidFiles  = []string{"/run/yum.pid", "/run/dnf.pid", "/var/cache/dnf/metadata_lock.pid", "/var/lib/dnf/rpmdb_lock.pid"}
)

// managerUser names the process that uses the package manager, "" for nobody.
func (h *Host) managerUser() (string, error) {
	for _, name := range lockFiles {
		real, err := h.resolve(name, true)
		if err != nil {
			return "", err
		}
		pid, err := lockHolder(real)
		if err != nil {
			return "", fmt.Errorf("ask who locks %s: %w", name, err)
		}
		if pid != 0 {
			return process(pid), nil
		}
	}
	for _, name := range pidFiles {
		data, err := h.read(name)
		if err != nil {
			continue // gone meanwhile, or never there
		}
		pid := strings.TrimSpace(string(data))
		comm, err := os.ReadFile(path.Join("/proc", pid, "comm"))
		if pid != "" && err == nil && slices.ContainsFunc([]string{"dnf", "yum", "python", "microdnf"}, func(tool string) bool { return strings.HasPrefix(string(comm), tool) }) {
			return process(atoi(pid)), nil
		}
	}
	return "", nil
}
