package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.uber.org/zap"

	"slipway/lifecycle/bundle"
)

// What the service reads of where a bundle came from (V-24).
const (
	sourceDownloaded = "downloaded"
	sourceReused     = "archive-reuse"
)

// originFile is where it is kept what the bundle of a deployment is, so that the same revision need not be fetched again.
func (r root) originFile(group, deployment string) string {
	return r.own("bundles", group, deployment+".json")
}

// origins yields the deployments on disk, of all groups, whose bundle is the revision's for certain. A pre-baked image and a
// redeployment are such cases.
func (r root) origins(rev bundle.Revision) []origin {
	files, err := filepath.Glob(r.own("bundles", "*", "*.json"))
	if err != nil {
		return nil
	}
	var found []origin
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		o := origin{group: filepath.Base(filepath.Dir(name)), deployment: strings.TrimSuffix(filepath.Base(name), ".json")}
		if json.Unmarshal(data, &o.Origin) == nil && rev.Names(o.Origin) {
			found = append(found, o)
		}
	}
	return found
}

// origin is what the bundle of a deployment on disk is.
type origin struct {
	bundle.Origin
	group, deployment string
}

// reuseBundle takes the bundle of an earlier deployment of the same revision, after a look at every byte of it, and unpacks it anew. It
// reports false where there is none, or none that is as it was.
func (e *Engine) reuseBundle(ctx context.Context, d *Deployment, work string) (arrived, bool) {
	for _, o := range e.root.origins(d.Revision) {
		from := filepath.Join(e.root.path, o.group, o.deployment, bundleFile)
		got, err := e.takeBundle(ctx, d, o, from, work)
		if err == nil {
			e.log.Info("the bundle is on disk already: it is not downloaded", zap.String("deployment", d.ID), zap.String("path", from))
			got.How = "the bundle of " + o.deployment + ", verified again"
			return got, true
		}
		if !errors.Is(err, fs.ErrNotExist) {
			e.log.Warn("a bundle on disk is the same revision, and cannot be used: it is downloaded", zap.String("path", from), zap.Error(err))
		}
		if ctx.Err() != nil || cleared(work) != nil {
			break
		}
	}
	return arrived{}, false
}

// cleared makes a work folder empty again.
func cleared(work string) error {
	if err := os.RemoveAll(work); err != nil {
		return fmt.Errorf("remove what an earlier attempt left: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(work, archiveFolder), 0o755); err != nil {
		return fmt.Errorf("make a folder for the bundle: %w", err)
	}
	return nil
}

func (e *Engine) takeBundle(ctx context.Context, d *Deployment, o origin, from, work string) (arrived, error) {
	info, err := os.Lstat(from)
	if err != nil {
		return arrived{}, err
	}
	if !info.Mode().IsRegular() { // the official agent links local files (I-16)
		return arrived{}, fmt.Errorf("%s is no regular file", from)
	}
	file, err := os.Open(from)
	if err != nil {
		return arrived{}, err
	}
	defer file.Close()
	if err := bundle.Check(ctx, file, o.Sum); err != nil {
		return arrived{}, err
	}
	dir, err := os.OpenRoot(filepath.Join(work, archiveFolder))
	if err != nil {
		return arrived{}, err
	}
	defer dir.Close()
	stats, err := bundle.Unpack(ctx, file, d.Revision.Format(), dir, e.settings.Load().Limits)
	if err == nil {
		err = bundle.Strip(dir)
	}
	if err == nil {
		err = e.linkBundle(ctx, from, work)
	}
	if err != nil {
		return arrived{}, err
	}
	return arrived{Object: bundle.Object{ETag: o.ETag, VersionID: o.Version, Bytes: info.Size(), Sum: o.Sum}, Stats: stats, Source: sourceDownloaded}, nil
}

// linkBundle gives a bundle that is on disk another name in the work folder, or copies it where that cannot be.
func (e *Engine) linkBundle(ctx context.Context, from, work string) error {
	to := filepath.Join(work, bundleFile)
	if os.Link(from, to) == nil {
		return nil
	}
	file, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make a file for the bundle: %w", err)
	}
	defer file.Close()
	local := bundle.Fetcher{Log: e.log}
	_, err = local.Fetch(ctx, bundle.Revision{Type: bundle.LocalFile, Local: bundle.LocalLocation{Path: from}}, file)
	return err
}

// reusable is the form of a deployment id that an archive may be taken over from (V-62).
var reusable = regexp.MustCompile(`^d-[A-Z0-9]{1,62}$`)

// reuseArchive takes over the unpacked archive of the deployment that the specification names (V-32, V-62). An undo must have it; for the
// service it is advice: whatever is wrong with the archive, the revision is downloaded.
func (e *Engine) reuseArchive(ctx context.Context, d *Deployment, work string) (arrived, error) {
	if !d.Local && (!reusable.MatchString(d.ReuseFrom) || d.ReuseFrom == d.ID) {
		return arrived{}, fmt.Errorf("%q cannot be the deployment to take over the archive of", d.ReuseFrom)
	}
	from := filepath.Join(e.root.path, d.GroupID, d.ReuseFrom)
	archive := filepath.Join(from, archiveFolder)
	if info, err := os.Lstat(archive); err != nil || !info.IsDir() {
		return arrived{}, fmt.Errorf("there is no archive of deployment %s any more", d.ReuseFrom)
	}
	if _, err := readSpec(archive, d.AppSpecFilename); err != nil {
		return arrived{}, err
	}
	dir, err := os.OpenRoot(filepath.Join(work, archiveFolder))
	if err != nil {
		return arrived{}, err
	}
	defer dir.Close()
	if err := bundle.Clone(ctx, archive, dir); err != nil {
		return arrived{}, err
	}
	got := arrived{Source: sourceReused, How: "the archive of " + d.ReuseFrom}
	name := filepath.Join(from, bundleFile)
	if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() { // one of a local folder has none
		if err := e.linkBundle(ctx, name, work); err != nil {
			return arrived{}, err
		}
		got.Object.Bytes = info.Size()
	}
	if etag, err := os.ReadFile(filepath.Join(from, etagFile)); err == nil {
		got.Object.ETag = strings.TrimSpace(string(etag))
	}
	if o, ok := e.root.origin(d.GroupID, d.ReuseFrom); ok {
		got.Object.VersionID, got.Object.Sum = o.Version, o.Sum
	}
	return got, nil
}

// origin is what the bundle of a deployment is, if that is known.
func (r root) origin(group, deployment string) (o bundle.Origin, ok bool) {
	data, err := os.ReadFile(r.originFile(group, deployment))
	return o, err == nil && json.Unmarshal(data, &o) == nil
}

// writeOrigin keeps what a bundle is, for revisions that can come again, and forgets those whose deployment is gone. It is of use later,
// and no reason to fail now.
func (e *Engine) writeOrigin(d *Deployment, object bundle.Object) {
	folder := e.root.own("bundles", d.GroupID)
	if entries, err := os.ReadDir(folder); err == nil {
		for _, entry := range entries {
			deployment := strings.TrimSuffix(entry.Name(), ".json")
			if _, err := os.Lstat(filepath.Join(e.root.path, d.GroupID, deployment)); errors.Is(err, fs.ErrNotExist) {
				os.Remove(filepath.Join(folder, entry.Name()))
			}
		}
	}
	if object.Sum == "" || !slices.Contains([]bundle.RevisionType{bundle.S3, bundle.GitHub}, d.Revision.Type) {
		return
	}
	data, err := json.Marshal(d.Revision.Origin(object))
	if err == nil {
		err = os.MkdirAll(folder, 0o700)
	}
	if err == nil {
		err = writeState(e.root.originFile(d.GroupID, d.ID), data, false)
	}
	if err != nil {
		e.log.Warn("what the bundle is could not be noted: the same revision will be downloaded again", zap.Error(err))
	}
}
