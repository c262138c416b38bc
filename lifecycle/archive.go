package lifecycle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"

	"slipway/lifecycle/appspec"
)

// revision is whose archive an event works with; archive is empty when there is none, and the event then has nothing to do
// (H-5, H-8).
type revision struct {
	whose   whose
	archive string
}

// revision chooses the archive whose scripts the event runs (H-3, H-4). In a deployment by the service the order of events decides;
// in a local one, where any order may be asked for, an archive that is there already is the one that is used (H-5).
func (e *Engine) revision(d *Deployment, ev Event) (revision, error) {
	return e.revisionBeside(d, ev, e.root.archive(d))
}

// revisionBeside is revision for a deployment whose archive is, or will be, what lies in the folder current.
func (e *Engine) revisionBeside(d *Deployment, ev Event, current string) (revision, error) {
	w := ev.revisionFor(d)
	if w == thisRevision || d.Local && isDir(current) {
		if !isDir(current) {
			return revision{whose: thisRevision}, nil
		}
		return revision{thisRevision, current}, nil
	}
	if e.settings.Load().OldRevision == "skip" {
		return revision{whose: w}, nil
	}
	deployment, err := e.root.readPointer(d.GroupID, w)
	if err != nil || deployment == "" {
		return revision{whose: w}, err
	}
	archive := filepath.Join(deployment, archiveFolder)
	if !isDir(archive) {
		if e.settings.Load().OldRevision == "run" {
			return revision{}, fmt.Errorf("%s runs the scripts of %s, and its archive %s is gone (old_revision_hooks: skip-if-missing would go on without it)", ev, w, archive)
		}
		e.log.Warn("the revision whose scripts the event runs is gone: nothing is run", zap.String("event", string(ev)), zap.String("path", archive))
		return revision{whose: w}, nil
	}
	return revision{w, archive}, nil
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// maxAppSpec is read of an appspec at most; the parser refuses what is longer than its own limit.
const maxAppSpec = 4 << 20

// readSpec finds and parses the appspec of an archive: the configured name, else appspec.yaml, else appspec.yml, the same at
// every event.
func readSpec(archive, configured string) (*appspec.Spec, error) {
	dir, err := os.OpenRoot(archive)
	if err != nil {
		return nil, fmt.Errorf("open the unpacked bundle: %w", err)
	}
	defer dir.Close()
	for _, name := range []string{configured, "appspec.yaml", "appspec.yml"} {
		f, err := dir.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open the appspec of the bundle: %w", err)
		}
		data, err := io.ReadAll(io.LimitReader(f, maxAppSpec))
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s of the bundle: %w", name, err)
		}
		spec, diagnostics := appspec.Parse(name, data)
		if err := diagnostics.Err(); err != nil {
			return nil, err
		}
		return spec, nil
	}
	return nil, fmt.Errorf("%w: there is no %s at its top: %s", errNoSpec, configured, contents(dir))
}

// errNoSpec says that an archive has no appspec under any of its names.
var errNoSpec = errors.New("the bundle has no appspec")

// contents says what is at the top of a bundle, for a message.
func contents(dir *os.Root) string {
	top, err := dir.Open(".")
	if err != nil {
		return "it cannot be listed"
	}
	defer top.Close()
	names, _ := top.Readdirnames(0)
	if len(names) == 0 {
		return "it is empty"
	}
	slices.Sort(names)
	if len(names) > 8 {
		names = append(names[:8], fmt.Sprintf("and %d more", len(names)-8))
	}
	return "it has " + strings.Join(names, ", ")
}
