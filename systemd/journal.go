package systemd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// journalSocket is where the journal takes entries in its own protocol.
const journalSocket = "/run/systemd/journal/socket"

// Journal sends entries to the journal of this host, each with fields of its own that `journalctl FIELD=value` finds. Make one with
// [OpenJournal]. It may be used by several goroutines.
type Journal struct {
	mu   sync.Mutex // keeps a message and its file in order
	conn *net.UnixConn
	to   *net.UnixAddr
}

// Field is one field of an entry. A name is what [FieldName] makes, a value any text.
type Field struct{ Name, Value string }

// OpenJournal returns the journal that out leads to, by what the service manager says of it in JOURNAL_STREAM, or nil if it leads elsewhere: to a
// file, a terminal, a pipe. An error says that it does, and that the journal takes no entries but by out.
func OpenJournal(getenv func(string) string, out *os.File) (*Journal, error) {
	stream := getenv("JOURNAL_STREAM")
	if stream == "" {
		return nil, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(out.Fd()), &st); err != nil {
		return nil, fmt.Errorf("look where the output leads: %w", err)
	}
	if stream != fmt.Sprintf("%d:%d", st.Dev, st.Ino) {
		return nil, nil
	}
	return dialJournal(journalSocket)
}

func dialJournal(path string) (*Journal, error) {
	// Not connected: the socket stays usable when the journal is restarted.
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("open a socket for the journal: %w", err)
	}
	j := &Journal{conn: conn, to: &net.UnixAddr{Name: path, Net: "unixgram"}}
	if _, err := os.Stat(path); err != nil {
		return nil, errors.Join(fmt.Errorf("look for the socket of the journal: %w", err), conn.Close())
	}
	return j, nil
}

// journalPatience is how long a journal that does not read may hold a line back.
const journalPatience = time.Second

// Send passes an entry on. It blocks for a second at most. An entry too large for a datagram goes as a file in memory.
func (j *Journal) Send(fields []Field) error {
	var b []byte
	for _, f := range fields {
		b = f.append(b)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.conn.SetWriteDeadline(time.Now().Add(journalPatience)); err != nil {
		return fmt.Errorf("send to the journal: %w", err)
	}
	_, _, err := j.conn.WriteMsgUnix(b, nil, j.to)
	if errors.Is(err, syscall.EMSGSIZE) || errors.Is(err, syscall.ENOBUFS) {
		err = j.sendFile(b)
	}
	if err != nil {
		return fmt.Errorf("send to the journal: %w", err)
	}
	return nil
}

// sendFile passes an entry in a sealed file, as the journal demands of large ones.
func (j *Journal) sendFile(entry []byte) error {
	fd, err := unix.MemfdCreate("slipway-journal", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "journal entry")
	defer f.Close()
	if _, err := f.Write(entry); err != nil {
		return err
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL); err != nil {
		return err
	}
	_, _, err = j.conn.WriteMsgUnix(nil, unix.UnixRights(int(f.Fd())), j.to)
	return err
}

// append writes a field as the journal reads it: NAME=value, or name, length and bytes where the value has several lines.
func (f Field) append(b []byte) []byte {
	if !strings.Contains(f.Value, "\n") {
		return append(append(append(append(b, f.Name...), '='), f.Value...), '\n')
	}
	b = append(append(b, f.Name...), '\n')
	b = binary.LittleEndian.AppendUint64(b, uint64(len(f.Value)))
	return append(append(b, f.Value...), '\n')
}

// fieldMost is the longest name of a field that the journal takes.
const fieldMost = 64

// FieldName makes the name of a field of a key, behind a prefix such as SLIPWAY_: capitals, digits and underscores, at most 64 of them. The prefix
// must begin with a letter.
func FieldName(prefix, key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, prefix+key)
	return name[:min(len(name), fieldMost)]
}
