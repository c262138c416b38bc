package main

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"slipway/agent/config"
	"slipway/lifecycle"
)

// hostFactsOf are facts of this host that a reader of an account may need.
func hostFactsOf(cfg *config.Config) []lifecycle.Fact {
	name, _ := os.Hostname()
	facts := []lifecycle.Fact{
		{Name: "host", Value: name},
		{Name: "system", Value: systemName()},
		{Name: "kernel", Value: kernelText()},
		{Name: "slipway", Value: buildVersion()},
		{Name: "user", Value: whoRuns()},
		{Name: "cgroups", Value: cgroupMode()},
		{Name: "memory", Value: memoryText()},
		{Name: "processors", Value: strconv.Itoa(runtime.NumCPU())},
		{Name: "deployment root", Value: cfg.RootDir},
	}
	for i := range facts {
		facts[i].Value = cmp.Or(facts[i].Value, "not known")
	}
	return facts
}

func kernelText() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
}

func whoRuns() string {
	id := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(id); err == nil {
		return fmt.Sprintf("%s (%s)", u.Username, id)
	}
	return id
}

func cgroupMode() string {
	var st unix.Statfs_t
	switch {
	case unix.Statfs("/sys/fs/cgroup", &st) != nil:
		return "none"
	case st.Type == unix.CGROUP2_SUPER_MAGIC:
		return "version 2"
	}
	return "version 1"
}

// memoryText is how much memory there is, and how much of it is free for use.
func memoryText() string {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return ""
	}
	found := map[string]int64{}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 1 {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			found[strings.TrimSuffix(f[0], ":")] = n << 10
		}
	}
	return fmt.Sprintf("%s, %s free", sizeText(found["MemTotal"]), sizeText(found["MemAvailable"]))
}
