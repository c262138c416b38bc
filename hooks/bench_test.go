package hooks

import (
	"bytes"
	"os/exec"
	"strconv"
	"testing"
)

// The whole way of an empty script: order, shim, script, result.
func BenchmarkEmptyHook(b *testing.B) {
	s := write(b, "#!/bin/sh\n")
	r := newRunner(b)
	base := s.Dir
	n := 0
	for b.Loop() {
		n++
		s.Dir = base + strconv.Itoa(n)
		if res := perform(b, r, s); res.Err != nil {
			b.Fatal(res.Err)
		}
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
