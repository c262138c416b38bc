package hooks

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"
)

// The whole way of an empty script, from Start to its result: with a shim that waits for it, as in a deployment, and with one that has
// to be started first. With SLIPWAY_BINARY the shim is that program, which is larger than this one.
func BenchmarkEmptyHook(b *testing.B) {
	for _, waits := range []bool{true, false} {
		b.Run(map[bool]string{true: "waiting", false: "fresh"}[waits], func(b *testing.B) {
			s := write(b, "#!/bin/sh\n")
			r := newRunner(b)
			if os.Getenv("HOOKS_BENCH_SCOPES") != "" {
				r.Container = newScopes(b)
			}
			if program := os.Getenv("SLIPWAY_BINARY"); program != "" {
				r.Shim[0] = program
			}
			base := s.Dir
			var times []time.Duration
			for b.Loop() {
				s.Dir = base + strconv.Itoa(len(times))
				if waits {
					r.Prepare()
					standing(b, r)
				}
				time.Sleep(10 * time.Millisecond) // what came before is over, and the shim has come up
				began := time.Now()
				if res := perform(b, r, s); res.Err != nil {
					b.Fatal(res.Err)
				}
				times = append(times, time.Since(began))
			}
			slices.Sort(times)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(times[len(times)/2])/1e6, "median-ms")
			b.ReportMetric(float64(times[0])/1e6, "least-ms")
		})
	}
}

// What an empty script costs without any of it.
func BenchmarkBareExec(b *testing.B) {
	s := write(b, "#!/bin/sh\n")
	for b.Loop() {
		if err := exec.Command(s.Path).Run(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOutput(b *testing.B) {
	s := write(b, "")
	block := bytes.Repeat([]byte("a line of output as a build prints it, about eighty characters long: all well\n"), 800)
	b.SetBytes(int64(len(block)))
	o := newOutput(s, newRedactor([]string{"swordfish"}))
	o.scripts.size = 1 << 20 // the disk is not what is measured
	for b.Loop() {
		o.lines("stdout", block)
	}
}

// What looking for secrets costs: in output without any, in one full of addresses, and with many values of an env_file.
func BenchmarkClean(b *testing.B) {
	plain := "a line of output as a build prints it, about eighty characters long: all well\n"
	address := "  - Downloading psr/log (3.0.0) https://api.github.com/repos/php-fig/log/zipball/fe5e\n"
	var many []string
	for i := range 50 {
		many = append(many, "value-"+strconv.Itoa(i*7919)+"-of-fifty")
	}
	for _, bb := range []struct {
		name, line string
		values     []string
	}{{"plain", plain, nil}, {"addresses", address, nil}, {"fifty values", plain, many}} {
		b.Run(bb.name, func(b *testing.B) {
			block := bytes.Repeat([]byte(bb.line), 800)
			r := newRedactor(bb.values)
			b.SetBytes(int64(len(block)))
			for b.Loop() {
				r.clean(block)
			}
		})
	}
}
