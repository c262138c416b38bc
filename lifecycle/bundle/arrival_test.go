package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func newTestArrival(t *testing.T) *arrival { return newArrival(archiveFile(t, t.TempDir(), nil)) }

// put writes a piece, which must succeed.
func put(t *testing.T, a *arrival, at int64, b []byte) {
	t.Helper()
	if n, err := a.WriteAt(b, at); n != len(b) || err != nil {
		t.Errorf("WriteAt(%d bytes, %d) = %d, %v", len(b), at, n, err)
	}
}

// parts come in any order, several at once, some again; whoever follows reads the bundle.
func TestArrivalInAnyOrder(t *testing.T) {
	const part, piece = 10_000, 700
	data := noise(12*part + 123)
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		a := newTestArrival(t)
		order := random.Perm((len(data) + part - 1) / part)
		parts := make(chan int, len(order))
		for _, i := range order {
			parts <- i
		}
		close(parts)
		breaks := random.IntN(part) // where a part breaks off the first time
		var writers, readers sync.WaitGroup
		for range 4 {
			writers.Go(func() {
				for i := range parts {
					from, to := i*part, min((i+1)*part, len(data))
					for _, end := range []int{min(from+breaks, to), to} {
						for at := from; at < end; at += piece {
							put(t, a, int64(at), data[at:min(at+piece, end)])
						}
					}
				}
			})
		}
		for range 2 {
			readers.Go(func() {
				got, err := io.ReadAll(a.follow(t.Context()))
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("seed %d: followed to %d bytes, %v", seed, len(got), err)
				}
			})
		}
		readers.Go(func() {
			want := sha256.Sum256(data)
			if got, err := a.digest(t.Context(), sha256.New()); err != nil || !bytes.Equal(got, want[:]) {
				t.Errorf("seed %d: digest %x, %v", seed, got, err)
			}
		})
		writers.Wait()
		if n := len(a.beyond); a.bytes() != int64(len(data)) || n != 0 {
			t.Errorf("seed %d: %d bytes and %d gaps", seed, a.bytes(), n)
		}
		a.end(nil)
		readers.Wait()
	}
}

// What is kept of the parts does not grow with their number.
func TestArrivalSpans(t *testing.T) {
	a := newTestArrival(t)
	for i := range 1000 { // the first part is slow
		a.add(span{int64(i+1) * 10, int64(i+2) * 10})
		if len(a.beyond) != 1 || a.ready != 0 {
			t.Fatalf("%d spans, %d bytes", len(a.beyond), a.ready)
		}
	}
	a.add(span{0, 10})
	if len(a.beyond) != 0 || a.ready != 10_010 {
		t.Errorf("%d spans, %d bytes", len(a.beyond), a.ready)
	}
}

// A follower ends when what it read is void, and only then.
func TestArrivalAnew(t *testing.T) {
	first, second := noise(1000), noise(1001)
	for _, c := range []struct {
		name  string
		begin func(a *arrival)
		again func(a *arrival) error
		void  bool
	}{
		{"nothing had arrived", func(*arrival) {}, (*arrival).anew, false},
		{"nothing without a gap had arrived", func(a *arrival) { put(t, a, 500, first[500:]) }, (*arrival).anew, false},
		{"some had arrived", func(a *arrival) { put(t, a, 0, first[:500]) }, (*arrival).anew, true},
		{"a part comes again", func(a *arrival) { put(t, a, 0, second[:500]) }, func(a *arrival) error { put(t, a, 0, second[:300]); return nil }, false},
		{"a part comes again, with more", func(a *arrival) { put(t, a, 0, second[:500]) }, func(a *arrival) error { put(t, a, 0, second[:700]); return nil }, false},
		{"a part comes again as another", func(a *arrival) { put(t, a, 0, first[:500]) }, func(a *arrival) error { put(t, a, 0, second[:500]); return nil }, true},
		{"a part behind a gap comes again as another", func(a *arrival) { put(t, a, 300, first[300:500]) }, func(a *arrival) error { put(t, a, 300, second[300:500]); return nil }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newTestArrival(t)
			c.begin(a)
			f := a.follow(t.Context())
			if err := c.again(a); err != nil {
				t.Fatal(err)
			}
			put(t, a, 0, second)
			a.end(nil)
			got, err := io.ReadAll(f)
			if c.void != errors.Is(err, errAnew) || !c.void && (err != nil || !bytes.Equal(got, second)) {
				t.Errorf("the follower read %d bytes, %v; want it to begin anew: %v", len(got), err, c.void)
			}
			if got, err := io.ReadAll(a.follow(t.Context())); err != nil || !bytes.Equal(got, second) {
				t.Errorf("another follower read %d bytes, %v", len(got), err)
			}
		})
	}
}

// Whoever waits is woken by each way in which waiting can end; inside a bubble nobody can be left behind.
func TestArrivalWakes(t *testing.T) {
	failed, because := errors.New("connection reset"), errors.New("the agent is stopping")
	for _, c := range []struct {
		name string
		then func(a *arrival, cancel context.CancelCauseFunc)
		want error
	}{
		{"more", func(a *arrival, _ context.CancelCauseFunc) { put(t, a, 5, []byte("more")) }, nil},
		{"the end", func(a *arrival, _ context.CancelCauseFunc) { a.end(nil) }, io.EOF},
		{"a failure", func(a *arrival, _ context.CancelCauseFunc) { a.end(failed) }, failed},
		{"another attempt", func(a *arrival, _ context.CancelCauseFunc) { _ = a.anew() }, errAnew},
		{"the context", func(_ *arrival, cancel context.CancelCauseFunc) { cancel(because) }, because},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := archiveFile(t, t.TempDir(), nil)
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				a := newArrival(file)
				put(t, a, 0, []byte("some "))
				f := a.follow(ctx)
				time.AfterFunc(time.Minute, func() { c.then(a, cancel) })
				if got, err := io.ReadAll(io.LimitReader(f, 5)); string(got) != "some " || err != nil {
					t.Fatalf("read %q, %v", got, err)
				}
				began := time.Now()
				n, err := f.Read(make([]byte, 10))
				if took := time.Since(began); !errors.Is(err, c.want) || (err == nil) != (n > 0) || took != time.Minute {
					t.Errorf("Read() = %d, %v after %v, want %v", n, err, took, c.want)
				}
			})
		})
	}
}

// A name for a checksum and a file that is another one.
func TestCheck(t *testing.T) {
	f := archiveFile(t, t.TempDir(), []byte("content"))
	for _, c := range []struct {
		sum  string
		says string // empty: it is right
		is   bool   // ErrDiffers
	}{
		{"md5:9a0364b9e99bb480dd25e1f0284c8555", "", false},
		{"md5:9A0364B9E99BB480DD25E1F0284C8555", "", false},
		{"sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73", "", false},
		{"crc32:3a1acabb", "has the checksum crc32:", true},
		{"sha256:00", "has the checksum sha256:ed70", true},
		{"md5:00000000000000000000000000000000", "has the checksum md5:9a03", true},
		{"", "is not a checksum", false},
		{"md5:", "is not a checksum", false},
		{"md5:xyz", "is not a checksum", false},
		{"crc8:00", `type "crc8" are not known`, false},
	} {
		err := Check(t.Context(), f, c.sum)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) || errors.Is(err, ErrDiffers) != c.is {
			t.Errorf("Check(%q) = %v, want it to say %q and to be ErrDiffers: %v", c.sum, err, c.says, c.is)
		}
	}
	because := errors.New("the agent is stopping")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(because)
	if err := Check(ctx, f, "md5:9a0364b9e99bb480dd25e1f0284c8555"); !errors.Is(err, because) {
		t.Errorf("Check() after the end = %v", err)
	}
}
