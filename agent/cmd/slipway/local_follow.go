package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
)

// maxFollowed is what is kept of a line whose end has not come yet.
const maxFollowed = 256 << 10

// scriptLine is a line of a script's output.
type scriptLine struct {
	text   string
	stderr bool
}

// scriptsFollower reads a scripts.log (H-23, H-24) as it grows. It is not there before the first script, and is put aside when it is
// full (V-80): what was written until then is read to its end first.
type scriptsFollower struct {
	name string
	file *os.File
	part []byte // of a line
}

// lines are those of scripts that have come since the last call. What cannot be read now may be read later, and is in the file.
func (f *scriptsFollower) lines() []scriptLine {
	var all []scriptLine
	for {
		if f.file == nil {
			file, err := os.Open(f.name)
			if err != nil {
				return all
			}
			f.file = file
		}
		moved := f.moved() // asked before the end is read
		all = append(all, f.rest()...)
		if !moved {
			return all
		}
		f.close()
	}
}

func (f *scriptsFollower) moved() bool {
	here, err := f.file.Stat()
	if err != nil {
		return true
	}
	there, err := os.Stat(f.name)
	return err == nil && !os.SameFile(here, there)
}

func (f *scriptsFollower) rest() []scriptLine {
	var all []scriptLine
	buf := make([]byte, 32<<10)
	for {
		n, err := f.file.Read(buf)
		f.part = append(f.part, buf[:n]...)
		for {
			line, rest, whole := bytes.Cut(f.part, []byte("\n"))
			if !whole {
				break
			}
			if l, ok := parseScriptLine(string(line)); ok {
				all = append(all, l)
			}
			f.part = rest
		}
		if len(f.part) > maxFollowed {
			f.part = nil
		}
		if n == 0 || err != nil && !errors.Is(err, io.EOF) {
			return all
		}
	}
}

func (f *scriptsFollower) close() {
	if f.file != nil {
		f.file.Close()
		f.file, f.part = nil, nil
	}
}

// parseScriptLine takes an entry of the log apart; ok is false for those that no script has written.
func parseScriptLine(entry string) (l scriptLine, ok bool) {
	const stamp = len("2006-01-02 15:04:05 ")
	if len(entry) < stamp {
		return l, false
	}
	text := entry[stamp:]
	if rest, ok := strings.CutPrefix(text, "[stderr]"); ok {
		return scriptLine{rest, true}, true
	}
	l.text, ok = strings.CutPrefix(text, "[stdout]")
	return l, ok
}
