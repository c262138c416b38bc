package rehearse

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"slipway/lifecycle"
)

// list encodes an access control list that gives user 33 the right to read.
func list() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range [][3]uint32{{1, 6, ^uint32(0)}, {2, 4, 33}, {4, 4, ^uint32(0)}, {16, 4, ^uint32(0)}, {32, 4, ^uint32(0)}} {
		b = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, uint16(e[0])), uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	return b
}

// script is what one event does to the copy.
type script func(t testing.TB, at func(string) string)

// cases are what may become of a host. By AfterInstall's script unless said otherwise.
var cases = map[string]struct {
	does script
	want []string
}{
	"nothing": {func(testing.TB, func(string) string) {}, nil},
	"create":  {func(t testing.TB, at func(string) string) { write(t, at("app/new"), "x") }, []string{"added file /app/new"}},
	"modify":  {func(t testing.TB, at func(string) string) { write(t, at("app/index.php"), "<?php\n") }, []string{"changed file /app/index.php content"}},
	"modify, of the same size and time": {func(t testing.TB, at func(string) string) {
		info, err := os.Stat(at("app/index.php"))
		must(t, err)
		write(t, at("app/index.php"), "<?php\necho 2;\n")
		must(t, os.Chtimes(at("app/index.php"), info.ModTime(), info.ModTime()))
	}, []string{"changed file /app/index.php content"}},
	"write anew, equal": {func(t testing.TB, at func(string) string) {
		must(t, os.Remove(at("app/index.php")))
		write(t, at("app/index.php"), "<?php\necho 1;\n")
	}, nil},
	"chmod": {func(t testing.TB, at func(string) string) { must(t, os.Chmod(at("app/index.php"), 0o755)) }, []string{"changed file /app/index.php mode"}},
	"chmod and back": {func(t testing.TB, at func(string) string) {
		must(t, os.Chmod(at("app/index.php"), 0o755), os.Chmod(at("app/index.php"), 0o644))
	}, nil},
	"chmod of a directory": {func(t testing.TB, at func(string) string) { must(t, os.Chmod(at("app/few"), 0o700)) }, []string{"changed directory /app/few mode"}},
	"chmod of the root":    {func(t testing.TB, at func(string) string) { must(t, os.Chmod(at(""), 0o777)) }, []string{"changed directory / mode"}},
	"chown":                {func(t testing.TB, at func(string) string) { must(t, os.Chown(at("app/index.php"), 33, 33)) }, []string{"changed file /app/index.php owner"}},
	"chown of a link":      {func(t testing.TB, at func(string) string) { must(t, os.Lchown(at("app/link"), 33, 33)) }, []string{"changed link /app/link owner"}},
	"setfacl": {func(t testing.TB, at func(string) string) {
		must(t, unix.Setxattr(at("app/index.php"), "system.posix_acl_access", list(), 0))
	}, []string{"changed file /app/index.php acl"}},
	"default list of a directory": {func(t testing.TB, at func(string) string) {
		must(t, unix.Setxattr(at("app/few"), "system.posix_acl_default", list(), 0))
	}, []string{"changed directory /app/few acl"}},
	"attribute": {func(t testing.TB, at func(string) string) {
		must(t, unix.Setxattr(at("app/index.php"), "user.x", []byte("y"), 0))
	}, []string{"changed file /app/index.php xattr"}},
	"touch": {func(t testing.TB, at func(string) string) {
		for _, name := range []string{"app/index.php", "app/few", "app/fifo", "app/sparse"} {
			must(t, unix.Utimes(at(name), []unix.Timeval{{Sec: 1}, {Sec: 1}}))
		}
	}, nil},
	"delete": {func(t testing.TB, at func(string) string) { must(t, os.Remove(at("app/index.php"))) }, []string{"removed file /app/index.php"}},
	"create and delete": {func(t testing.TB, at func(string) string) {
		write(t, at("app/tmp"), "x")
		must(t, os.Remove(at("app/tmp")))
	}, nil},
	"delete and make anew": {func(t testing.TB, at func(string) string) {
		must(t, os.Remove(at("app/index.php")))
		write(t, at("app/index.php"), "other")
	}, []string{"changed file /app/index.php content"}},
	"delete a small directory": {
		func(t testing.TB, at func(string) string) { must(t, os.RemoveAll(at("app/few"))) },
		[]string{"removed directory /app/few", "removed file /app/few/a", "removed file /app/few/b"},
	},
	"delete a directory": {func(t testing.TB, at func(string) string) { must(t, os.RemoveAll(at("app/img"))) }, []string{"removed directory /app/img +30"}},
	"delete and make anew a directory": {func(t testing.TB, at func(string) string) {
		must(t, os.RemoveAll(at("app/few")))
		write(t, at("app/few/b"), "b")
		write(t, at("app/few/c"), "c")
	}, []string{"removed file /app/few/a", "added file /app/few/c"}},
	"rename a file": {
		func(t testing.TB, at func(string) string) {
			must(t, os.Rename(at("app/index.php"), at("app/main.php")))
		},
		[]string{"removed file /app/index.php", "added file /app/main.php"},
	},
	"rename a directory": {func(t testing.TB, at func(string) string) {
		// As mv does, where the kernel leaves it to the program.
		must(t, exec.Command("mv", at("app/few"), at("app/more")).Run())
	}, []string{
		"removed directory /app/few", "removed file /app/few/a", "removed file /app/few/b",
		"added directory /app/more", "added file /app/more/a", "added file /app/more/b",
	}},
	"directory becomes a file": {func(t testing.TB, at func(string) string) {
		must(t, os.RemoveAll(at("app/few")))
		write(t, at("app/few"), "x")
	}, []string{"changed file /app/few type", "removed file /app/few/a", "removed file /app/few/b"}},
	"file becomes a directory": {func(t testing.TB, at func(string) string) {
		must(t, os.Remove(at("app/index.php")))
		write(t, at("app/index.php/x"), "x")
	}, []string{"changed directory /app/index.php type", "added file /app/index.php/x"}},
	"directory becomes a link": {func(t testing.TB, at func(string) string) {
		must(t, os.RemoveAll(at("app/img")), os.Symlink("/srv", at("app/img")))
	}, append([]string{"changed link /app/img type"}, removedImages()...)},
	"link to elsewhere": {func(t testing.TB, at func(string) string) {
		must(t, os.Remove(at("app/link")), os.Symlink("data.bin", at("app/link")))
	}, []string{"changed link /app/link link"}},
	"link to the same": {func(t testing.TB, at func(string) string) {
		must(t, os.Remove(at("app/link")), os.Symlink("index.php", at("app/link")))
	}, nil},
	"hard links": {func(t testing.TB, at func(string) string) {
		write(t, at("app/new1"), "x")
		must(t, os.Link(at("app/new1"), at("app/new2")), os.Link(at("app/index.php"), at("app/index2")))
	}, []string{"added file /app/index2", "added file /app/new1", "added file /app/new2"}},
	"one of two names": {func(t testing.TB, at func(string) string) { write(t, at("app/twin1"), "one\n") }, []string{"changed file /app/twin1 content"}},
	"sparse, past the hole": {func(t testing.TB, at func(string) string) {
		f, err := os.OpenFile(at("app/sparse"), os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteAt([]byte("x"), 1<<40-1)
		must(t, err, f.Close())
	}, []string{"changed file /app/sparse content"}},
	"pipe and socket": {func(t testing.TB, at func(string) string) {
		must(t, unix.Mkfifo(at("app/pipe"), 0o600), os.Chdir(at("app"))) // a path of a socket has to be short
		l, err := net.Listen("unix", "sock")
		must(t, err)
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		must(t, l.Close(), os.Chdir("/"))
	}, []string{"added fifo /app/pipe", "added socket /app/sock"}},
	"chmod of a pipe": {func(t testing.TB, at func(string) string) { must(t, os.Chmod(at("app/fifo"), 0o600)) }, []string{"changed fifo /app/fifo mode"}},
	"many files": {func(t testing.TB, at func(string) string) {
		for i := range 25 {
			write(t, at(fmt.Sprintf("app/lib/x/%d", i)), "x")
		}
		write(t, at("app/few/c"), "c")
	}, []string{"added file /app/few/c", "added directory /app/lib +26"}},
	"a program with another's rights among many": {func(t testing.TB, at func(string) string) {
		for i := range 25 {
			write(t, at(fmt.Sprintf("app/lib/%02d", i)), "x")
		}
		must(t, os.Chmod(at("app/lib/07"), 0o755|os.ModeSetuid))
	}, []string{"added directory /app/lib +24", "added file /app/lib/07"}},
	"names that sort before a slash": {func(t testing.TB, at func(string) string) {
		write(t, at("app/few-more"), "x")
		write(t, at("app/few/c"), "x")
	}, []string{"added file /app/few/c", "added file /app/few-more"}},
	"left out": {func(t testing.TB, at func(string) string) {
		write(t, at("app/.slipway/x/y"), "x")
		must(t, os.Remove(at("app/data.bin")))
	}, []string{"removed file /app/data.bin"}},
	"everything": {
		func(t testing.TB, at func(string) string) { must(t, os.RemoveAll(at("app")), os.RemoveAll(at("etc"))) },
		[]string{"removed directory /app +42", "removed directory /etc", "removed file /etc/group", "removed file /etc/passwd"},
	},
}

func removedImages() (list []string) {
	for i := range 30 {
		list = append(list, fmt.Sprintf("removed file /app/img/%02d.png", i))
	}
	return list
}

// Where a host got its files from: they are its own, or came before Base, into an empty host or over others.
const (
	asLower = iota
	atBase
	overOthers
)

func testChanges(t *testing.T, user bool, from int) {
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			fill := fixture(t)
			switch from {
			case atBase:
				fill = func(string) {}
			case overOthers:
				fill = others(t)
			}
			o := newOverlay(t, user, fill, func(path string) bool { return path == "/app/.slipway" })
			if from != asLower {
				must(t, os.RemoveAll(filepath.Join(o.root, "app")), os.RemoveAll(filepath.Join(o.root, "etc/group")))
				fixture(t)(o.root)
				write(t, filepath.Join(o.root, "app/.slipway/own"), "x")
				must(t, o.s.Base(t.Context()))
				defer func() {
					must(t, o.s.Close())
					if left, err := filepath.Glob(o.Upper + ".*"); len(left) > 0 || err != nil {
						t.Errorf("Close() leaves %q, %v", left, err)
					}
				}()
			}
			test.does(t, func(name string) string { return filepath.Join(o.root, name) })
			o.mark(lifecycle.AfterInstall, true)
			want := []string{}
			for _, line := range test.want {
				want = append(want, line+" by AfterInstall's script")
			}
			if name == "one of two names" && from != asLower {
				// An overlay parts the names of the host's own files when it copies one; those of the upper layer are still one file.
				want = append(want, "changed file /app/twin2 content by AfterInstall's script")
			}
			if diff := cmp.Diff(want, append([]string{}, o.changes(ChangesOptions{})...)); diff != "" {
				t.Errorf("Changes() (-want +got):\n%s", diff)
			}
		})
	}
}

// others is a host with other files where the fixture has its own, and more.
func others(t testing.TB) func(lower string) {
	return func(lower string) {
		for _, name := range []string{"app/index.php", "app/few/a", "app/few/z", "app/img/99.png", "app/fifo/folder", "app/link", "app/new", "app/gone/x", "etc/passwd", "etc/group/folder"} {
			write(t, filepath.Join(lower, name), "other\n")
		}
	}
}

func TestChanges(t *testing.T) {
	if inside(t, false) {
		testChanges(t, false, asLower)
	}
}

// In a user namespace the overlay keeps its marks elsewhere.
func TestChangesWithUserXattr(t *testing.T) {
	if inside(t, true) {
		testChanges(t, true, asLower)
	}
}

// What the copy was at Base is what changes are told against, as if the host had been so.
func TestChangesSinceBase(t *testing.T) {
	if inside(t, false) {
		testChanges(t, false, atBase)
	}
}

func TestChangesSinceBaseOverOthers(t *testing.T) {
	if inside(t, false) {
		testChanges(t, false, overOthers)
	}
}

func TestChangesSinceBaseWithUserXattr(t *testing.T) {
	if inside(t, true) {
		testChanges(t, true, overOthers)
	}
}

// The capabilities of a program, and devices, are for root alone to make.
func TestChangesOfRootAlone(t *testing.T) {
	if !inside(t, false) {
		return
	}
	o := newOverlay(t, false, func(lower string) {
		fixture(t)(lower)
		for _, name := range []string{"app/null", "app/zero"} {
			must(t, unix.Mknod(filepath.Join(lower, name), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		}
	}, nil)
	at := func(name string) string { return filepath.Join(o.root, name) }
	capability := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // cap_net_bind_service+ep
	must(t, unix.Setxattr(at("app/index.php"), "security.capability", capability, 0))
	must(t, os.Remove(at("app/zero")), unix.Mknod(at("app/zero"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))), os.Chmod(at("app/null"), 0o600))
	for i := range 25 {
		write(t, at(fmt.Sprintf("app/lib/%d", i)), "x")
	}
	must(t, unix.Mknod(at("app/lib/disk"), unix.S_IFBLK|0o600, int(unix.Mkdev(8, 0))))
	o.mark(lifecycle.AfterInstall, true)
	want := []string{
		"changed file /app/index.php xattr by AfterInstall's script",
		"added directory /app/lib +25 by AfterInstall's script", "added device /app/lib/disk by AfterInstall's script",
		"changed device /app/null mode by AfterInstall's script", "changed device /app/zero content by AfterInstall's script",
	}
	if diff := cmp.Diff(want, o.changes(ChangesOptions{})); diff != "" {
		t.Errorf("Changes() (-want +got):\n%s", diff)
	}
	list, _, err := o.s.Changes(t.Context(), ChangesOptions{})
	must(t, err)
	if got, want := list[4].Was+", "+list[4].Is, "0644 root:root 1:3, 0644 root:root 1:5"; got != want {
		t.Errorf("the device is %q, want %q", got, want)
	}
	must(t, o.s.Base(t.Context()))
	if got := o.changes(ChangesOptions{}); len(got) > 0 {
		t.Errorf("since Base, Changes() = %q", got)
	}
	must(t, o.s.Close())
}
