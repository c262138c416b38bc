package systemd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// decodeEntry reads an entry as the journal does.
func decodeEntry(b []byte) (fields []Field, err error) {
	for len(b) > 0 {
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		if !ok {
			return nil, errors.New("a line without an end")
		}
		if name, value, ok := bytes.Cut(line, []byte("=")); ok {
			fields, b = append(fields, Field{string(name), string(value)}), rest
			continue
		}
		if len(rest) < 8 {
			return nil, errors.New("no length")
		}
		n := binary.LittleEndian.Uint64(rest)
		if rest = rest[8:]; n >= uint64(len(rest)) || rest[n] != '\n' {
			return nil, fmt.Errorf("a length of %d in %d bytes", n, len(rest))
		}
		fields, b = append(fields, Field{string(line), string(rest[:n])}), rest[n+1:]
	}
	return fields, nil
}

// journald is a socket that takes entries.
func journald(t *testing.T) (string, *net.UnixConn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "socket")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return path, conn
}

// entry reads one entry, from a datagram or the file that came with it.
func entry(t *testing.T, conn *net.UnixConn) (fields []Field, asFile bool) {
	t.Helper()
	b, oob := make([]byte, 1<<20), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(b, oob)
	if err != nil {
		t.Fatal(err)
	}
	data := b[:n]
	if oobn > 0 {
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(msgs) != 1 {
			t.Fatalf("control messages: %v, %v", msgs, err)
		}
		fds, err := unix.ParseUnixRights(&msgs[0])
		if err != nil || len(fds) != 1 {
			t.Fatalf("descriptors: %v, %v", fds, err)
		}
		f := os.NewFile(uintptr(fds[0]), "entry")
		defer f.Close()
		seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
		if want := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE; err != nil || seals&want != want {
			t.Errorf("seals = %x, %v: the journal refuses a file that may change", seals, err)
		}
		if data, err = io.ReadAll(io.NewSectionReader(f, 0, 1<<30)); err != nil {
			t.Fatal(err)
		}
		asFile = true
	}
	fields, err = decodeEntry(data)
	if err != nil {
		t.Fatalf("%v in %.200q", err, data)
	}
	return fields, asFile
}

func TestJournal(t *testing.T) {
	path, conn := journald(t)
	j, err := dialJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		fields []Field
		file   bool
	}{
		{"plain", []Field{{"MESSAGE", "event succeeded"}, {"PRIORITY", "6"}}, false},
		{"equals signs, nothing, bytes", []Field{{"MESSAGE", "a=b=c"}, {"SLIPWAY_NOTE", ""}, {"SLIPWAY_RAW", "\xff\x00\x01"}}, false},
		{"several lines", []Field{{"MESSAGE", "one\ntwo\n"}, {"SLIPWAY_ERROR", "\n"}, {"PRIORITY", "3"}}, false},
		{"more than a datagram holds", []Field{{"MESSAGE", strings.Repeat("long ", 1<<20)}, {"PRIORITY", "4"}}, true},
	} {
		if err := j.Send(tt.fields); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got, asFile := entry(t, conn)
		if diff := cmp.Diff(tt.fields, got); diff != "" || asFile != tt.file {
			t.Errorf("%s: as a file = %t; (-want +got):\n%.2000s", tt.name, asFile, diff)
		}
	}
}

// Entries of several goroutines arrive whole.
func TestJournalSideBySide(t *testing.T) {
	path, conn := journald(t)
	j, err := dialJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	const senders, each = 8, 50
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for range each {
				if err := j.Send([]Field{{"MESSAGE", strings.Repeat("x", i+1)}, {"SLIPWAY_N", fmt.Sprint(i + 1)}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range senders * each {
		if f, _ := entry(t, conn); len(f) != 2 || fmt.Sprint(len(f[0].Value)) != f[1].Value {
			t.Fatalf("entry: %+v", f)
		}
	}
	wg.Wait()
}

// A journal that is gone or does not read is an error within a moment, and no end of the program.
func TestJournalGone(t *testing.T) {
	if _, err := dialJournal(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no error without a socket")
	}
	path, conn := journald(t)
	j, err := dialJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	full := []Field{{"MESSAGE", strings.Repeat("x", 4000)}}
	for n := 0; err == nil; n++ { // nobody reads: the queue is full some time
		if err = j.Send(full); n > 1<<16 {
			t.Fatal("never full")
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a full journal: %v", err)
	}
	conn.Close()
	os.Remove(path)
	if err := j.Send(full); err == nil {
		t.Error("no error from a journal that is gone")
	}
	back, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if err := j.Send(full); err != nil {
		t.Errorf("the journal is back: %v", err)
	}
}

func TestOpenJournal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, stream := range []string{"", "1:2", "nonsense"} {
		if j, err := OpenJournal(func(string) string { return stream }, f); j != nil || err != nil {
			t.Errorf("JOURNAL_STREAM=%q: %v, %v", stream, j, err)
		}
	}
}

func TestFieldName(t *testing.T) {
	for key, want := range map[string]string{
		"deployment": "SLIPWAY_DEPLOYMENT", "on_premises": "SLIPWAY_ON_PREMISES", "a.b-c d": "SLIPWAY_A_B_C_D", "é": "SLIPWAY__", "": "SLIPWAY_",
		strings.Repeat("x", 100): "SLIPWAY_" + strings.Repeat("X", 56),
	} {
		if got := FieldName("SLIPWAY_", key); got != want {
			t.Errorf("FieldName(%q) = %q, want %q", key, got, want)
		}
	}
}

// Whatever the value, the journal reads that and no other field.
func FuzzField(f *testing.F) {
	for _, seed := range []string{"", "plain", "two\nlines", "PRIORITY=0", "x\nPRIORITY=0\n", "\x00\xff", "\n"} {
		f.Add("key", seed)
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		want := []Field{{FieldName("SLIPWAY_", key), value}, {"PRIORITY", "6"}}
		got, err := decodeEntry(want[1].append(want[0].append(nil)))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}
