package lifecycle

import "path/filepath"

// A ScriptsLog is where what the scripts of a deployment say is written (H-23), or will be: it need not be there yet.
type ScriptsLog struct {
	Group, Deployment string
	Path              string // in a folder of its own, in that of the deployment
}

// ScriptsLogs returns those of all deployments that have a folder under a deployment root. A root that is not there has none.
func ScriptsLogs(dir string) ([]ScriptsLog, error) {
	r := root{path: filepath.Clean(dir)}
	folders, err := r.folders()
	if err != nil {
		return nil, err
	}
	all := make([]ScriptsLog, len(folders))
	for i, f := range folders {
		all[i] = ScriptsLog{Group: f.Group, Deployment: f.Deployment, Path: r.scriptsLog(&Deployment{GroupID: f.Group, ID: f.Deployment})}
	}
	return all, nil
}
