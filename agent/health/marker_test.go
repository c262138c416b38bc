package health

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestReadMarker(t *testing.T) {
	until := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		name, content string
		want          Marker
	}{
		{"touched", "", Marker{Reason: "marker FILE"}},
		{"a line", "kernel update\n", Marker{Reason: "kernel update"}},
		{"several lines are one", "kernel\n\tupdate\x00\x1b[31m", Marker{Reason: "kernel update [31m"}},
		{"JSON", `{"reason":"load test","until":"2030-01-02T03:04:05Z"}`, Marker{Reason: "load test", Until: until}},
		{"JSON without a reason", `{}`, Marker{Reason: "marker FILE"}},
		{"JSON cut short still drains", `{"reason":"load`, Marker{Reason: "a drain marker that cannot be read: unexpected end of JSON input"}},
		{"JSON with a wrong time still drains", `{"until":"tomorrow"}`, Marker{Reason: `a drain marker that cannot be read: parsing time "tomorrow" as "2006-01-02T15:04:05Z07:00": cannot parse "tomorrow" as "2006"`}},
		{"long", strings.Repeat("x", 400), Marker{Reason: strings.Repeat("x", 300) + "…"}},
		{"huge", strings.Repeat("x", 20<<10), Marker{Reason: "a drain marker of more than 16 KiB"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "drain")
			if err := os.WriteFile(name, []byte(tt.content), 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := ReadMarker(name)
			if err != nil {
				t.Fatal(err)
			}
			if got.Since.IsZero() {
				t.Error("no beginning: the time of the file is known")
			}
			tt.want.Reason = strings.ReplaceAll(tt.want.Reason, "FILE", name)
			if diff := cmp.Diff(&tt.want, got, cmpopts.IgnoreFields(Marker{}, "Since")); diff != "" {
				t.Errorf("ReadMarker() mismatch (-want +got):\n%s", diff)
			}
		})
	}
	if m, err := ReadMarker(filepath.Join(t.TempDir(), "none")); m != nil || err != nil {
		t.Errorf("ReadMarker() = %v, %v where there is none", m, err)
	}
}

// Whoever may write the marker could take the instance out of service.
func TestMarkersThatDoNotCount(t *testing.T) {
	tests := []struct {
		name string
		make func(dir, name string) error
		root bool
		want string
	}{
		{"others may write it", func(_, name string) error { return errors.Join(os.WriteFile(name, nil, 0o644), os.Chmod(name, 0o666)) }, false, "others may write it (mode 0666)"},
		{"a link", func(dir, name string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "x"), nil, 0o644), os.Symlink("x", name))
		}, false, "a symbolic link"},
		{"a folder", func(_, name string) error { return os.Mkdir(name, 0o755) }, false, "not a regular file"},
		{"a pipe, which nobody writes to", func(_, name string) error { return syscall.Mkfifo(name, 0o644) }, false, "not a regular file"},
		{"of another user", func(_, name string) error { return errors.Join(os.WriteFile(name, nil, 0o644), os.Chown(name, 33, 33)) }, true, "belongs to another user"},
		{"others may write the folder", func(dir, name string) error {
			return errors.Join(os.WriteFile(name, nil, 0o644), os.Chmod(dir, 0o777))
		}, false, "others may write its folder"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.root && os.Geteuid() != 0 {
				t.Skip("only root can give files away")
			}
			dir := t.TempDir()
			name := filepath.Join(dir, "drain")
			if err := tt.make(dir, name); err != nil {
				t.Fatal(err)
			}
			m, err := ReadMarker(name)
			var wrong *MarkerError
			if m != nil || !errors.As(err, &wrong) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ReadMarker() = %v, %v, want a MarkerError with %q", m, err, tt.want)
			}
		})
	}
}

func FuzzMarker(f *testing.F) {
	for _, s := range []string{"", "text", `{"reason":"a"}`, `{"until":"2030-01-02T03:04:05Z"}`, "{", "\xff\x00", `{"reason":5}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := parseMarker(data)
		if len(m.Reason) > 400 || strings.ContainsAny(m.Reason, "\n\r\x00\x1b") {
			t.Errorf("reason %q", m.Reason)
		}
	})
}

// following starts to follow a marker of a registry whose application is well.
func following(t *testing.T, name string) *Registry {
	t.Helper()
	r := healthy(t)
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(done); r.FollowMarker(ctx, name, func() { close(ready) }) }()
	<-ready
	t.Cleanup(func() { cancel(); <-done })
	return r
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not seen: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func saying(r *Registry, want string) func() bool {
	return func() bool { return strings.HasPrefix(get(r, "/health").Body.String(), want) }
}

func TestFollowMarker(t *testing.T) {
	name := filepath.Join(t.TempDir(), "drain")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(name+".new", []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	r := following(t, name)
	if !saying(r, "ok")() {
		t.Fatal("drained without a marker")
	}
	began := time.Now()
	write("")
	eventually(t, "the touched marker", saying(r, "draining: marker "+name))
	if took := time.Since(began); took > markerLook/2 {
		t.Errorf("noticed after %s: it was not watched", took)
	}
	write("another reason")
	eventually(t, "the other reason", saying(r, "draining: another reason"))
	if n := len(r.Application().Drains); n != 1 {
		t.Errorf("%d drains, want 1: a marker that is replaced is one", n)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end", saying(r, "ok"))

	write(`{"reason":"short","until":"` + time.Now().Add(300*time.Millisecond).Format(time.RFC3339Nano) + `"}`)
	eventually(t, "the marker with an end", saying(r, "draining: short"))
	eventually(t, "its end", saying(r, "ok"))
	eventually(t, "that the marker is removed", func() bool { _, err := os.Lstat(name); return os.IsNotExist(err) })

	// A marker that must not count ends nothing and begins nothing; the handler is not disturbed.
	write("real")
	eventually(t, "the marker", saying(r, "draining: real"))
	if err := os.Chmod(name, 0o666); err != nil {
		t.Fatal(err)
	}
	eventually(t, "that it does not count any more", saying(r, "ok"))
}

// A marker outlives the agent: the next one drains before it gives its first answer.
func TestMarkerIsThereAtTheStart(t *testing.T) {
	name := filepath.Join(t.TempDir(), "drain")
	if err := os.WriteFile(name, []byte("kernel update"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := following(t, name); !saying(r, "draining: kernel update")() {
		t.Errorf("first answer: %s", get(r, "/health").Body)
	}
}

func TestMarkerOfAFolderThatComesLater(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "slipway", "drain")
	r := following(t, name)
	if err := os.Mkdir(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the marker", saying(r, "draining"))
}

// A folder that is removed or moved away and made anew is another one, and is watched again.
func TestMarkerOfAFolderThatIsReplaced(t *testing.T) {
	t.Parallel()
	for what, away := range map[string]func(string) error{
		"removed": os.RemoveAll,
		"moved":   func(dir string) error { return os.Rename(dir, dir+".old") },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			name := filepath.Join(t.TempDir(), "slipway", "drain")
			if err := os.Mkdir(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			r := following(t, name)
			eventually(t, "the marker", saying(r, "draining"))
			if err := away(filepath.Dir(name)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "that it is gone", saying(r, "ok"))
			if err := os.Mkdir(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the marker in the new folder", saying(r, "draining"))
		})
	}
}

func TestKeepFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ok")
	r, p := newRegistry(t), &scripted{}
	r.Watch(Application{Probe: p, Interval: 20 * time.Millisecond, Rise: 1, Fall: 2})
	keep := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.KeepFile(ctx, name) }()
		return func() { cancel(); <-done }
	}
	there := func() bool { data, err := os.ReadFile(name); return err == nil && string(data) == "ok\n" }
	gone := func() bool { _, err := os.Lstat(name); return os.IsNotExist(err) }

	// What an earlier agent left stays until something is known.
	if err := os.WriteFile(name, []byte("ok\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	stop := keep()
	time.Sleep(50 * time.Millisecond)
	if !there() {
		t.Error("the file of the agent before went without a reason")
	}
	running(t, r)
	first, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a fresher file", func() bool { i, err := os.Stat(name); return err == nil && i.ModTime().After(first.ModTime()) })
	p.set(errors.New("answered 500"))
	eventually(t, "that it goes when the application is sick", gone)
	p.set(nil)
	eventually(t, "that it comes back", there)
	undrain := r.Drain("out", time.Time{})
	eventually(t, "that a drain takes it away", gone)
	undrain()
	eventually(t, "that it is back after the drain", there)
	stop()
	if !there() {
		t.Error("the end of the agent took a healthy instance out of service")
	}
}
