package lab

import (
	"context"
	"errors"
)

// Endpoints are the URLs of a running lab, without a slash at the end.
type Endpoints struct {
	// Gateway answers for CodeDeploy, S3 and the host-command service alike, so that one AWS_ENDPOINT_URL is enough.
	Gateway string `json:"gateway"`
	// Control is the host-command service alone.
	Control string `json:"control"`
	// S3 is S3 alone; address buckets by path.
	S3 string `json:"s3"`
	// Admin is the lab's own API, below /lab/.
	Admin string `json:"admin"`
	// Metadata has one URL per instance.
	Metadata []string `json:"metadata"`
}

// A Lab is running from Start to Close.
type Lab struct{}

// Start opens the listeners and returns at once. What it started ends with Close.
func Start(Options) (*Lab, error) { return nil, errors.New("not yet") }

// Endpoints are where the lab listens.
func (l *Lab) Endpoints() Endpoints { return Endpoints{} }

// Done is closed when somebody asked for the lab's end through its API.
func (l *Lab) Done() <-chan struct{} { return nil }

// WriteFiles writes into dir what a client or an agent needs to talk to this lab, and returns the path of each
// file by its purpose: env (shell exports), agent (configuration for --config), onpremises, agent-onpremises, ca, signer.
func (l *Lab) WriteFiles(dir string) (map[string]string, error) { return nil, nil }

// Environment is what a client needs, as NAME=value.
func (l *Lab) Environment() []string { return nil }

// Close stops deployments in hand and all listeners.
func (l *Lab) Close(context.Context) error { return nil }
