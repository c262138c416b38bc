package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

const (
	selinuxMount = "/sys/fs/selinux/enforce"
	labelAttr    = "security.selinux"
)

// labelled reports whether SELinux contexts are set on this host.
func (p *Plan) labelled() bool { return p.selinux }

// checkContexts says what will become of the contexts of the permissions section (I-51).
func (m *maker) checkContexts() {
	wanted := false
	for i := range m.plan.perms {
		wanted = wanted || m.plan.perms[i].context != nil
	}
	if !wanted && len(m.plan.labels) == 0 {
		return
	}
	if _, err := os.Stat(selinuxMount); err != nil {
		if wanted {
			m.warn("this host has no SELinux: the contexts of the permissions section are left out")
		}
		return
	}
	m.plan.selinux = true
	if _, err := exec.LookPath("semanage"); err != nil && wanted {
		m.conflict("semanage", "is missing, and the permissions section sets SELinux contexts: install policycoreutils-python-utils, or leave context out")
	}
}

// setLabel gives a staged object its final context, so that it is right from the first moment under its own name.
func setLabel(fd int, m *permission) error {
	if m.context == nil {
		return nil
	}
	if err := unix.Fsetxattr(fd, labelAttr, []byte(labelText(m.context)), 0); err != nil {
		return fmt.Errorf("set SELinux context %s: %w", labelText(m.context), err)
	}
	return nil
}

// addRules records the contexts in the host's policy, so that a relabelling keeps them (I-51). It returns the paths whose
// rules were added, also with an error: they have to go again then.
func (p *Plan) addRules(ctx context.Context) (added []string, err error) {
	if !p.labelled() {
		return nil, nil
	}
	for n := range p.perms {
		c := p.perms[n].context
		if c == nil {
			continue
		}
		args := []string{"-t", c.Type}
		if c.Name != "" {
			args = append(args, "-s", c.Name)
		}
		if c.Range != "" {
			args = append(args, "-r", c.Range)
		}
		for _, i := range p.permsOf[n] {
			if i >= 0 && p.files[i].link() {
				continue
			}
			path := p.realPath(i)
			if err := semanage(ctx, append([]string{"-a"}, append(args, path)...)); err != nil {
				// There is a rule already, most likely the previous revision's.
				if err2 := semanage(ctx, append([]string{"-m"}, append(args, path)...)); err2 != nil {
					return added, err
				}
				continue
			}
			added = append(added, path)
		}
	}
	return added, nil
}

// removeRules takes rules out of the policy. Its errors are told and change nothing (I-41).
func removeRules(ctx context.Context, paths []string, log *zap.Logger) {
	for _, path := range paths {
		if err := semanage(ctx, []string{"-d", path}); err != nil {
			log.Warn("SELinux rule not removed", zap.String("path", path), zap.Error(err))
		}
	}
}

func semanage(ctx context.Context, args []string) error {
	out, err := exec.CommandContext(ctx, "semanage", append([]string{"fcontext"}, args...)...).CombinedOutput()
	if err == nil {
		return nil
	}
	if text := bytes.TrimSpace(out); len(text) > 0 {
		err = errors.New(string(text))
	}
	return fmt.Errorf("semanage fcontext %q: %w", args, err)
}
