package bundle

import (
	"context"
	"errors"
	"os"
)

func (f *Fetcher) gitHub(ctx context.Context, from GitHubLocation, to *os.File) (Object, error) {
	return Object{}, errors.New("not built yet")
}
