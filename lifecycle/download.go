package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"slipway/lifecycle/bundle"
)

// download carries out DownloadBundle: retention, fetch, unpack, look at the appspec, then the archive appears under its name in one
// step and the most-recent pointer is written (I-9). An error or a crash leaves no partial archive.
func (e *Engine) download(ctx context.Context, d *Deployment) Result {
	ctx, cancel := e.graced(ctx)
	defer cancel()
	began := time.Now()
	removed, err := e.root.prune(d, e.settings.Load().MaxRevisions)
	if err != nil {
		e.log.Warn("old deployments stay: the deployment goes on", zap.Error(err))
	}
	for _, path := range removed {
		e.log.Info("old deployment removed", zap.String("path", path))
	}
	object, stats, err := e.fetch(ctx, d)
	if err != nil {
		return failure(ctx, err)
	}
	if err := e.root.writePointer(d.GroupID, mostRecent, d); err != nil {
		return failure(ctx, err)
	}
	e.opts.Observe(Observation{Event: DownloadBundle, Deployment: d.ID, Bytes: object.Bytes})
	// The service reads where the bundle came from (V-24).
	return success("BundleSource=downloaded", fmt.Sprintf("%s: %d bytes, %d files, %d bytes unpacked, in %s",
		d.Revision, object.Bytes, stats.Files, stats.Bytes, rounded(time.Since(began))))
}

// fetch brings the bundle and its unpacked archive into the deployment root. All work is done in a folder of our own on the same file
// system, whose parts are then renamed into place.
func (e *Engine) fetch(ctx context.Context, d *Deployment) (object bundle.Object, stats bundle.Stats, err error) {
	work := e.root.own("prefetch", d.ID)
	if err := os.RemoveAll(work); err != nil {
		return object, stats, fmt.Errorf("remove what an earlier attempt left: %w", err)
	}
	archive := filepath.Join(work, archiveFolder)
	if err := os.MkdirAll(archive, 0o755); err != nil {
		return object, stats, fmt.Errorf("make a folder for the bundle: %w", err)
	}
	defer os.RemoveAll(work)

	file, err := os.OpenFile(filepath.Join(work, bundleFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return object, stats, fmt.Errorf("make a file for the bundle: %w", err)
	}
	defer file.Close()
	if object, err = e.opts.Fetcher.Fetch(ctx, d.Revision, file); err != nil {
		return object, stats, err // it says what was downloaded from where
	}
	if stats, err = e.unpack(ctx, d, file, archive); err != nil {
		return object, stats, fmt.Errorf("unpack %s: %w", d.Revision, err)
	}
	if _, err := readSpec(archive, d.AppSpecFilename); err != nil {
		return object, stats, err
	}
	return object, stats, e.place(d, file, work, object)
}

func (e *Engine) unpack(ctx context.Context, d *Deployment, file *os.File, archive string) (bundle.Stats, error) {
	dir, err := os.OpenRoot(archive)
	if err != nil {
		return bundle.Stats{}, err
	}
	defer dir.Close()
	stats, err := bundle.Unpack(ctx, file, d.Revision.Format(), dir, e.settings.Load().Limits)
	if err != nil {
		return stats, err
	}
	return stats, bundle.Strip(dir)
}

// place moves what was fetched to where the official agent keeps it (I-2, I-3, V-93). The archive goes last: its presence says
// that the rest is there.
func (e *Engine) place(d *Deployment, file *os.File, work string, object bundle.Object) error {
	to := e.root.deployment(d)
	if err := os.MkdirAll(to, 0o755); err != nil {
		return fmt.Errorf("make the deployment's folder: %w", err)
	}
	if err := os.RemoveAll(e.root.archive(d)); err != nil {
		return fmt.Errorf("remove the archive of an earlier attempt: %w", err)
	}
	if err := errors.Join(file.Chmod(0o644), os.Rename(file.Name(), filepath.Join(to, bundleFile))); err != nil {
		return fmt.Errorf("put the bundle into the deployment's folder: %w", err)
	}
	for name, text := range map[string]string{etagFile: object.ETag, sourceFile: "downloaded"} {
		if text == "" {
			continue
		}
		if err := replaceFile(filepath.Join(to, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("note where the bundle came from: %w", err)
		}
	}
	if err := syncTree(filepath.Join(work, archiveFolder)); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(work, archiveFolder), e.root.archive(d)); err != nil {
		return fmt.Errorf("put the archive into the deployment's folder: %w", err)
	}
	return errors.Join(syncFolder(to), syncFolder(filepath.Dir(to)))
}
