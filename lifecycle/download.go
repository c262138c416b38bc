package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"slipway/lifecycle/bundle"
)

// download carries out DownloadBundle: retention, the revision's arrival, which may have begun with an earlier event, then the archive
// appears under its name in one step and the most-recent pointer is written (I-9). An error or a crash leaves no partial archive.
func (e *Engine) download(ctx context.Context, d *Deployment) Result {
	patience := e.settings.Load().StopTimeout
	if e.opts.Attended {
		patience = 0
	}
	ctx, cancel := graced(ctx, patience)
	defer cancel()
	began := time.Now()
	gone, err := e.root.prune(d.GroupID, d.ID, e.settings.Load().retention(), pruning{spare: d.ReuseFrom}) // its archive is taken over
	if err != nil {
		e.log.Warn("old deployments stay: the deployment goes on", zap.Error(err))
	}
	for _, p := range gone {
		e.log.Info("old deployment removed", zap.String("path", p.Path), zap.String("because", p.Why), zap.Error(p.Err))
	}
	got, err := e.arrival(ctx, d)
	if err != nil {
		return failure(ctx, err)
	}
	if err := e.place(d, got); err != nil {
		return failure(ctx, err)
	}
	if err := e.root.writePointer(d.GroupID, mostRecent, d.ID); err != nil {
		return failure(ctx, err)
	}
	e.opts.Observe(Observation{Event: DownloadBundle, Deployment: d.ID, Bytes: got.Object.Bytes})
	// The service reads where the bundle came from (V-24).
	return success("BundleSource="+got.Source, fmt.Sprintf("%s: %s, in %s", d.Revision, got.what(), rounded(time.Since(began))))
}

// arrived is a revision that lies whole, verified and unpacked in a folder of our own, on the disk.
type arrived struct {
	Object bundle.Object `json:"object"`
	Stats  bundle.Stats  `json:"stats"`
	Source string        `json:"source"` // as the service reads it (V-24)
	How    string        `json:"how"`    // as a person reads it
	// Revision is which one it is, for the next process: the specification of a deployment never changes, but its folder is only a name.
	Revision string `json:"revision"`
}

// what says in a few words how the revision came here, and how much it is. An archive that was taken over was not counted.
func (a arrived) what() string {
	if a.Stats.Files == 0 {
		return a.How
	}
	if a.Object.Bytes == 0 { // a directory
		return fmt.Sprintf("%s, %d files, %d bytes", a.How, a.Stats.Files, a.Stats.Bytes)
	}
	return fmt.Sprintf("%s, %d bytes, %d files, %d bytes unpacked", a.How, a.Object.Bytes, a.Stats.Files, a.Stats.Bytes)
}

// arrivedFile says in a work folder that all of the revision is there.
const arrivedFile = "arrived.json"

// bring makes a revision arrive in .slipway/prefetch/<id>: from an earlier deployment on this disk, or from where it lies. All of it is on
// the same file system as the place it is for. What an earlier process has completed is found again.
func (e *Engine) bring(ctx context.Context, d *Deployment) (arrived, error) {
	work := e.root.own("prefetch", d.ID)
	if got, ok := foundArrived(work, d); ok {
		return got, nil
	}
	if err := cleared(work); err != nil {
		return arrived{}, err
	}
	got, err := e.obtain(ctx, d, work)
	if err == nil {
		_, err = readSpec(filepath.Join(work, archiveFolder), d.AppSpecFilename)
	}
	if err == nil {
		err = syncTree(filepath.Join(work, archiveFolder))
	}
	if err == nil {
		got.Revision = d.Revision.String()
		err = writeArrived(work, got)
	}
	if err != nil {
		os.RemoveAll(work)
		return arrived{}, err // it says what was downloaded from where
	}
	return got, nil
}

func (e *Engine) obtain(ctx context.Context, d *Deployment, work string) (arrived, error) {
	set := e.settings.Load()
	if d.ReuseFrom != "" && (set.ReuseArchives || d.Local) {
		got, err := e.reuseArchive(ctx, d, work)
		if err == nil || d.Local {
			return got, err
		}
		e.log.Warn("the archive of an earlier deployment cannot be taken over: the revision is downloaded", zap.String("deployment", d.ID), zap.String("from", d.ReuseFrom), zap.Error(err))
		if err := cleared(work); err != nil {
			return arrived{}, err
		}
	}
	if got, ok := e.reuseBundle(ctx, d, work); ok {
		return got, nil
	}
	if err := cleared(work); err != nil {
		return arrived{}, err
	}
	file, err := os.OpenFile(filepath.Join(work, bundleFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return arrived{}, fmt.Errorf("make a file for the bundle: %w", err)
	}
	defer file.Close()
	dir, err := os.OpenRoot(filepath.Join(work, archiveFolder))
	if err != nil {
		return arrived{}, fmt.Errorf("open the folder for the bundle: %w", err)
	}
	defer dir.Close()
	object, stats, err := e.opts.Fetcher.Bring(ctx, d.Revision, file, dir, set.Limits)
	if err == nil && d.Revision.Type == bundle.LocalDirectory {
		err = os.Remove(file.Name()) // a folder has no bundle (I-17)
	}
	how := "downloaded"
	if d.Local && (d.Revision.Type == bundle.LocalDirectory || d.Revision.Type == bundle.LocalFile) {
		how = "copied"
	}
	return arrived{Object: object, Stats: stats, Source: sourceDownloaded, How: how}, err
}

func writeArrived(work string, got arrived) error {
	data, err := json.Marshal(got)
	if err == nil {
		err = writeState(filepath.Join(work, arrivedFile), data, true)
	}
	if err != nil {
		return fmt.Errorf("note that the revision has arrived: %w", err)
	}
	return nil
}

func foundArrived(work string, d *Deployment) (got arrived, ok bool) {
	data, err := os.ReadFile(filepath.Join(work, arrivedFile))
	return got, err == nil && json.Unmarshal(data, &got) == nil && got.Revision == d.Revision.String() && isDir(filepath.Join(work, archiveFolder))
}

// place moves what arrived to where the official agent keeps it (I-2, I-3, V-93). The archive goes last: its presence says that the rest
// is there. A process that is killed in between leaves the work folder to the next, which goes on.
func (e *Engine) place(d *Deployment, got arrived) error {
	work, to := e.root.own("prefetch", d.ID), e.root.deployment(d)
	if err := os.MkdirAll(to, e.root.dirMode()); err != nil {
		return fmt.Errorf("make the deployment's folder: %w", err)
	}
	if err := os.RemoveAll(e.root.archive(d)); err != nil {
		return fmt.Errorf("remove the archive of an earlier attempt: %w", err)
	}
	from := filepath.Join(work, bundleFile)
	if _, err := os.Lstat(from); err == nil { // a local folder has none, and a process before us may have moved it
		if err := errors.Join(os.Chmod(from, e.root.fileMode()), os.Rename(from, filepath.Join(to, bundleFile))); err != nil {
			return fmt.Errorf("put the bundle into the deployment's folder: %w", err)
		}
	}
	for name, text := range map[string]string{etagFile: got.Object.ETag, sourceFile: got.Source} {
		if text == "" {
			continue
		}
		if err := replaceFile(filepath.Join(to, name), []byte(text), e.root.fileMode()); err != nil {
			return fmt.Errorf("note where the bundle came from: %w", err)
		}
	}
	if err := os.Rename(filepath.Join(work, archiveFolder), e.root.archive(d)); err != nil {
		return fmt.Errorf("put the archive into the deployment's folder: %w", err)
	}
	e.writeOrigin(d, got.Object)
	os.RemoveAll(work)
	return errors.Join(syncFolder(to), syncFolder(filepath.Dir(to)))
}
