package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"slipway/agent/control"
	"slipway/lifecycle/bundle/bundletest"
)

// The budget of ARCHITECTURE.md. `make bench` runs these against the stripped binary (SLIPWAY_BINARY) and prints bounds beside them.

const mib = 1 << 20

// memory is a host whose files are all in memory, where the machine has a memory file system.
func memoryHost(b *testing.B, pollWait time.Duration) *host {
	b.Helper()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		b.Setenv("TMPDIR", "/dev/shm")
	}
	return newHostWith(b, pollWait)
}

func (h *host) firstPoll() time.Duration {
	h.t.Helper()
	before := len(h.service.Calls())
	began := time.Now()
	h.start()
	for len(h.service.Calls()) == before {
		time.Sleep(200 * time.Microsecond)
	}
	return h.service.Calls()[before].At.Sub(began)
}

func BenchmarkBudgetStart(b *testing.B) {
	h := memoryHost(b, 0)
	var times, stops []time.Duration
	for b.Loop() {
		times = append(times, h.firstPoll())
		stops = append(stops, h.stop())
	}
	report1(b, "first-poll-ms", ms(median(times)))
	report1(b, "stop-ms", ms(median(stops)))
}

// The service holds polls for 30 s, as it did for the figure of the official agent.
func BenchmarkBudgetIdle(b *testing.B) {
	h := memoryHost(b, 30*time.Second)
	h.firstPoll()
	time.Sleep(2 * time.Second)
	before := h.cpu()
	for b.Loop() {
		time.Sleep(60 * time.Second)
	}
	report1(b, "idle-cpu-ms/60s", (h.cpu()-before)/float64(b.N))
	report1(b, "idle-rss-MiB", h.memory("VmRSS"))
}

// The whole deployment of seven events, ten files and trivial hooks, first dispatch to last completion.
func BenchmarkBudgetDeployment(b *testing.B) {
	h := memoryHost(b, 0)
	tree := map[string]string{"s.sh": "#!/bin/sh\nexit 0\n"}
	var hooks []string
	for _, e := range []string{"ApplicationStop", "BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService"} {
		hooks = append(hooks, e+"=s.sh")
	}
	tree["appspec.yml"] = h.appspec(hooks...)
	for i := range 10 {
		tree[fmt.Sprintf("content/f%d", i)] = strings.Repeat("x", 1000)
	}
	h.put("k", zipped(tree))
	h.firstPoll()
	var walls, events []time.Duration
	n := 0
	for b.Loop() {
		n++
		spec := h.spec(fmt.Sprintf("d-%d", n), "k", "zip")
		began := time.Now()
		for _, event := range []string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart", "ValidateService"} {
			id := h.send(event, spec)
			c := h.await(id)
			if c.Status != control.Succeeded {
				b.Fatalf("%s = %+v", event, c)
			}
			if event == "AfterInstall" { // from the answer to the poll to the completion: what the agent itself takes
				s, _ := h.service.State(id)
				events = append(events, c.At.Sub(s.Delivered))
			}
		}
		walls = append(walls, time.Since(began))
	}
	report1(b, "deployment-ms", ms(median(walls)))
	report1(b, "hook-event-ms", ms(median(events)))
}

func BenchmarkBudgetFiles(b *testing.B) {
	for _, size := range []int{50_000, 200_000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			h := memoryHost(b, 0)
			h.putTree("k", "zip", size, "")
			h.putTree("other", "zip", size, "another revision\n")
			h.firstPoll()
			var first, again, replaced []float64
			n := 0
			for b.Loop() {
				n++
				reference := h.reference("k", "zip")
				h.clearPeak()
				for i, round := range []struct {
					key    string
					ratios *[]float64
				}{{"k", &first}, {"k", &again}, {"other", &replaced}} {
					took := h.deploy(fmt.Sprintf("d-%d-%d", n, i), round.key, "zip")
					*round.ratios = append(*round.ratios, took.Seconds()/reference.Seconds())
				}
				os.RemoveAll(filepath.Join(h.dir, "site"))
				os.RemoveAll(filepath.Join(h.root(), "deployment-instructions"))
			}
			report1(b, "first-ratio", slices.Min(first))
			report1(b, "again-ratio", slices.Min(again))
			report1(b, "replaced-ratio", slices.Min(replaced))
			report1(b, "peak-rss-MiB", h.memory("VmHWM"))
		})
	}
}

func BenchmarkBudgetBig(b *testing.B) {
	h := memoryHost(b, 0)
	const size = 2000 * mib
	name := filepath.Join(h.dir, "big.tar")
	if err := writeBig(name, h.appspec(), size); err != nil {
		b.Fatal(err)
	}
	h.setGate(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return false
		}
		w.Header().Set("ETag", `"big-1"`)
		http.ServeFile(w, r, name)
		return true
	})
	h.firstPoll()
	for b.Loop() {
		h.clearPeak()
		h.deploy("d-big", "big", "tar")
	}
	report1(b, "peak-rss-MiB", h.memory("VmHWM"))
}

// writeBig writes a tar with one file of that many bytes.
func writeBig(name, appspec string, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	chunk := bytes.Repeat([]byte("slipway\n"), mib/8)
	if err := w.WriteHeader(&tar.Header{Name: "appspec.yml", Mode: 0o644, Size: int64(len(appspec))}); err != nil {
		return err
	}
	if _, err := io.WriteString(w, appspec); err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: "content/big", Mode: 0o644, Size: size}); err != nil {
		return err
	}
	for range size / mib {
		if _, err := w.Write(chunk); err != nil {
			return err
		}
	}
	return w.Close()
}

// putTree stores a bundle of so many small files, each but the appspec begun with a text, and keeps it beside for the reference tools.
func (h *host) putTree(key, format string, files int, prefix string) {
	h.t.Helper()
	write := map[string]func(io.Writer, iter.Seq[bundletest.Entry]) error{"zip": bundletest.WriteZip, "tgz": bundletest.WriteTgz}[format]
	var buf bytes.Buffer
	err := write(&buf, func(yield func(bundletest.Entry) bool) {
		for e := range bundletest.Tree(files, filepath.Join(h.dir, "site")) {
			if e.Name != "appspec.yml" && !strings.HasSuffix(e.Name, "/") {
				e.Data = prefix + e.Data
			}
			if !yield(e) {
				return
			}
		}
	})
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.dir, key+"."+format), buf.Bytes(), 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.put(key, buf.Bytes())
}

// deploy brings a bundle onto the host: DownloadBundle and Install.
func (h *host) deploy(id, key, format string) time.Duration {
	h.t.Helper()
	spec := h.spec(id, key, format)
	began := time.Now()
	for _, event := range []string{"DownloadBundle", "Install"} {
		if c := h.do(event, spec); c.Status != control.Succeeded {
			h.t.Fatalf("%s = %+v", event, c)
		}
	}
	return time.Since(began)
}

// reference is what the same costs with unzip or tar, and cp.
func (h *host) reference(key, format string) time.Duration {
	h.t.Helper()
	dir := filepath.Join(h.dir, "reference")
	defer os.RemoveAll(dir)
	unpacked := filepath.Join(dir, "a")
	if err := os.MkdirAll(unpacked, 0o755); err != nil {
		h.t.Fatal(err)
	}
	archive := filepath.Join(h.dir, key+"."+format)
	unpack := []string{"unzip", "-q", archive, "-d", unpacked}
	if format == "tgz" {
		unpack = []string{"tar", "-xzf", archive, "-C", unpacked}
	}
	began := time.Now()
	for _, args := range [][]string{unpack, {"cp", "-a", unpacked, filepath.Join(dir, "b")}} {
		if out, err := exec.CommandContext(context.Background(), args[0], args[1:]...).CombinedOutput(); err != nil {
			h.t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	return time.Since(began)
}

// memory is a figure of /proc/PID/status in MiB.
func (h *host) memory(field string) float64 {
	h.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.cmd.Process.Pid))
	if err != nil {
		h.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kb, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			if err != nil {
				h.t.Fatal(err)
			}
			return float64(kb) / 1024
		}
	}
	return 0
}

// clearPeak makes the kernel begin anew with the peak of resident memory.
func (h *host) clearPeak() {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", h.cmd.Process.Pid), []byte("5"), 0o200); err != nil {
		h.t.Fatal(err)
	}
}

// cpu is the time that the process has used, in milliseconds. The scheduler's figures are exact, where the ticks of /proc/PID/stat charge
// ten milliseconds to whoever is met.
func (h *host) cpu() float64 {
	h.t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", h.cmd.Process.Pid))
	if err != nil || len(tasks) == 0 {
		h.t.Fatalf("no figures of the scheduler: %v", err)
	}
	var sum time.Duration
	for _, name := range tasks {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		first, _, _ := strings.Cut(string(data), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			h.t.Fatal(err)
		}
		sum += time.Duration(ns)
	}
	return ms(sum)
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// report1 reports a figure of the budget; the time per iteration says nothing here.
func report1(b *testing.B, name string, value float64) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(value, name)
}
