package hooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// profileTime bounds the reading of /etc/profile, which may run anything.
const profileTime = 10 * time.Second

// ProfileEnvironment returns the variables that /etc/profile exports, as the unit of the official agent hands them to it (C-31): those that a
// shell does not set by itself.
func ProfileEnvironment(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, profileTime)
	defer cancel()
	bare, err := exported(ctx, "")
	if err != nil {
		return nil, err
	}
	with, err := exported(ctx, "if [ -f /etc/profile ]; then . /etc/profile; fi; ")
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(with, func(kv string) bool { return slices.Contains(bare, kv) }), nil
}

// exported is the environment of a shell that has read something, as variables that are exported by being set.
func exported(ctx context.Context, read string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "/bin/bash", "-c", "set -a; { "+read+":; } >/dev/null 2>&1 </dev/null; exec env -0")
	cmd.Env = []string{"PATH=" + defaultPath}
	cmd.Dir = "/"
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("read /etc/profile: it does not end within %s", profileTime)
	case errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("read /etc/profile: %w", err)
	case err != nil:
		return nil, fmt.Errorf("read /etc/profile: its shell ended with %w", err)
	}
	var env []string
	for kv := range bytes.SplitSeq(bytes.TrimSuffix(out, []byte{0}), []byte{0}) {
		name, _, ok := strings.Cut(string(kv), "=")
		if ok && !slices.Contains([]string{"_", "SHLVL", "PWD", "OLDPWD"}, name) {
			env = append(env, string(kv))
		}
	}
	return env, nil
}
