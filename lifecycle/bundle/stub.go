package bundle

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
)

func kindOf(m fs.FileMode) string { return m.String() }
func room(f *os.File, n int64) error { return nil }
func outOfSpace(err error, name string) error { return err }

type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i *interruptible) Read(p []byte) (int, error) { return i.r.Read(p) }
func (f *Fetcher) gitHub(ctx context.Context, from GitHubLocation, to *os.File) (Object, error) {
	return Object{}, errors.New("not built yet")
}
