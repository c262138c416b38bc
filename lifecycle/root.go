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

// writePointer makes a pointer name a deployment, atomically and durably. A crash leaves the old name or the new one.
func (r root) writePointer(group string, w whose, deployment string) error {
	if err := r.mkdir(instructionsFolder); err != nil {
		return err
	}
	name := r.pointer(group, w)
	err := replaceFile(name, []byte(filepath.Join(r.path, group, deployment)), 0o644)
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
	if err := os.MkdirAll(filepath.Join(append([]string{r.path}, elem...)...), 0o755); err != nil {
		return fmt.Errorf("make a folder under the deployment root: %w", err)
	}
	return nil
}
