package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Names under the deployment root. All but ownFolder are the official agent's (I-1..I-10, P-85).
const (
	ownFolder          = ".slipway"
	instructionsFolder = "deployment-instructions"
	logsFolder         = "deployment-logs"
	trackingFolder     = "ongoing-deployment"

	bundleFile    = "bundle.tar"
	archiveFolder = "deployment-archive"
	etagFile      = ".bundle-etag"   // V-93
	sourceFile    = ".bundle-source" // V-93
)

// root is the deployment root on disk.
type root struct {
	path    string
	program string // names the deployments log (I-10)
	closed  bool   // others may pass through it and read nothing (V-111)
}

// dirMode and fileMode are those of what the official agent has there too (V-56, V-111). A hook that runs as another user passes through the
// folders to its script.
func (r root) dirMode() os.FileMode {
	if r.closed {
		return 0o711
	}
	return 0o755
}

func (r root) fileMode() os.FileMode {
	if r.closed {
		return 0o600
	}
	return 0o644
}

// shut takes away what others may do with folders that are there already, of this agent or of one before it. Those that only the agent needs are
// made, so that nobody else makes them open.
func (r root) shut(tracking string) error {
	folders, err := r.folders()
	if err != nil {
		return err
	}
	modes := map[string]os.FileMode{r.path: r.dirMode()}
	for _, f := range folders {
		modes[filepath.Dir(f.Path)], modes[f.Path] = r.dirMode(), r.dirMode()
	}
	for name, mode := range map[string]os.FileMode{instructionsFolder: 0o700, tracking: 0o700, logsFolder: 0o750} {
		path := filepath.Join(r.path, name)
		if err := os.MkdirAll(path, mode); err != nil {
			return err
		}
		modes[path] = mode
	}
	for path, mode := range modes {
		if err := os.Chmod(path, mode); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (r root) own(elem ...string) string {
	return filepath.Join(append([]string{r.path, ownFolder}, elem...)...)
}

// deployment is the deployment root of one deployment (I-1). Its ids have been confined by ParseDeployment.
func (r root) deployment(d *Deployment) string { return filepath.Join(r.path, d.GroupID, d.ID) }

func (r root) archive(d *Deployment) string { return filepath.Join(r.deployment(d), archiveFolder) }

func (r root) scriptsLog(d *Deployment) string {
	return filepath.Join(r.deployment(d), "logs", "scripts.log")
}

func (r root) deploymentsLog() string {
	return filepath.Join(r.path, logsFolder, r.program+"-deployments.log")
}

func (r root) instructions(name string) string {
	return filepath.Join(r.path, instructionsFolder, name)
}

// pointer is the file that names a revision of a group (I-8, I-9).
func (r root) pointer(group string, w whose) string {
	if w == mostRecent {
		return r.instructions(group + "_most_recent_install")
	}
	return r.instructions(group + "_last_successful_install")
}

// readPointer returns the deployment root that a pointer names; "" if there is none.
func (r root) readPointer(group string, w whose) (string, error) {
	name := r.pointer(group, w)
	data, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("read which deployment is %s of the group: %w", w, err)
	}
	path := strings.TrimRight(string(data), "\r\n")
	if path != "" && !filepath.IsAbs(path) {
		return "", fmt.Errorf("%s names %q, which is not an absolute path: remove the file, the next deployment writes it anew", name, path)
	}
	return path, nil
}

// pointed is the id of the deployment that a pointer names; "" if there is none. It may be named by another way to this root: one from before it
// was moved, or through a link.
func (r root) pointed(group string, w whose) (string, error) {
	path, err := r.readPointer(group, w)
	if err != nil || path == "" {
		return "", err
	}
	return filepath.Base(path), nil
}

// writePointer makes a pointer name a deployment, atomically and durably. A crash leaves the old name or the new one.
func (r root) writePointer(group string, w whose, deployment string) error {
	if err := r.mkdir(instructionsFolder); err != nil {
		return err
	}
	name := r.pointer(group, w)
	err := replaceFile(name, []byte(filepath.Join(r.path, group, deployment)), r.fileMode())
	if err == nil {
		err = syncFolder(filepath.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("record the deployment as %s: %w", w, err)
	}
	return nil
}

// mkdir makes a folder under the root as the official agent does: it must stay able to read and prune it.
func (r root) mkdir(elem ...string) error {
	if err := os.MkdirAll(filepath.Join(append([]string{r.path}, elem...)...), r.dirMode()); err != nil {
		return fmt.Errorf("make a folder under the deployment root: %w", err)
	}
	return nil
}
