package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// Info is what GET /lab/info tells.
type Info struct {
	Endpoints Endpoints `json:"endpoints"`
	Region    string    `json:"region"`
	Account   string    `json:"account"`
	AccessKey string    `json:"accessKey"`
	SecretKey string    `json:"secretKey"`
	// Authority is the PEM of the lab's authority, Signer that of the certificate that vouches for specifications.
	Authority string `json:"authority,omitempty"`
	Signer    string `json:"signer"`
	// SignerFingerprint is the SHA-256 of the signing certificate, hex (trust.pins).
	SignerFingerprint string `json:"signerFingerprint"`
}

// DeploymentView is a deployment with its instances, as GET /lab/deployments/ID shows it.
type DeploymentView struct {
	deploymentInfo
	Targets []TargetView `json:"targets"`
}

// A TargetView is one instance in a deployment, as the public API shows it.
type TargetView = deploymentTarget

// admin is the lab's own API.
func (l *Lab) admin() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Origin") != "" {
				writePlainError(w, http.StatusForbidden, errors.New("not for web pages"))
				return
			}
			answer, err := f(r)
			if err != nil {
				status := http.StatusBadRequest
				if errors.Is(err, errUnknown) {
					status = http.StatusNotFound
				}
				writePlainError(w, status, err)
				return
			}
			writePlainJSON(w, answer)
		})
	}
	handle("GET /lab/info", func(*http.Request) (any, error) { return l.Info(), nil })
	handle("GET /lab/hosts", func(*http.Request) (any, error) { return l.Hosts(), nil })
	handle("POST /lab/hosts", l.postHost)
	handle("GET /lab/deployments", func(*http.Request) (any, error) { return l.views(""), nil })
	handle("GET /lab/deployments/{id}", l.getView)
	handle("GET /lab/calls", func(r *http.Request) (any, error) { return l.calls.list(r.URL.Query().Get("service")), nil })
	handle("GET /lab/faults", func(*http.Request) (any, error) { return append(l.faults.list(), l.control.skews()...), nil })
	handle("POST /lab/faults", l.postFault)
	handle("DELETE /lab/faults", func(*http.Request) (any, error) { return l.clearFaults(""), nil })
	handle("DELETE /lab/faults/{id}", func(r *http.Request) (any, error) {
		if n := l.clearFaults(r.PathValue("id")); n["removed"] == 0 {
			return nil, fmt.Errorf("fault %s: %w", r.PathValue("id"), errUnknown)
		}
		return map[string]int{"removed": 1}, nil
	})
	handle("POST /lab/deploy", l.postDeploy)
	handle("POST /lab/commands", l.postCommand)
	handle("GET /lab/commands/{id}", l.getCommand)
	handle("POST /lab/shutdown", func(*http.Request) (any, error) {
		l.once.Do(func() { close(l.done) })
		return map[string]bool{"stopping": true}, nil
	})
	mux.HandleFunc("GET /lab/events", l.stream)
	return mux
}

var errUnknown = errors.New("unknown")

func writePlainJSON(w http.ResponseWriter, v any) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		writePlainError(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(data, '\n'))
}

func writePlainError(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	data, _ := json.Marshal(map[string]string{"error": err.Error()}) // strings always encode
	w.Write(append(data, '\n'))
}

// decode reads a JSON body and refuses members that mean nothing.
func decode(r *http.Request, into any) error {
	d := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	return nil
}

// Hosts are the hosts that the lab knows, in the order in which it came to know them.
func (l *Lab) Hosts() []Host {
	l.service.mu.Lock()
	defer l.service.mu.Unlock()
	hosts := []Host{}
	for _, h := range l.service.hosts {
		hosts = append(hosts, h.copy())
	}
	return hosts
}

// DeclareHost adds a host, or changes tags, Auto Scaling group and lifecycle state of a known one. An id of the
// form i-… becomes the ARN of an instance of the lab's account.
func (l *Lab) DeclareHost(h Host) (Host, error) {
	if h.ID == "" && h.Name == "" {
		return Host{}, errors.New("a host needs an id")
	}
	l.service.mu.Lock()
	known := l.service.host(h.ID)
	if known == nil && h.Name != "" {
		known = l.service.host(h.Name)
	}
	l.service.mu.Unlock()
	switch {
	case known != nil:
		h.ID = known.ID
	case h.ID == "":
		h.ID = h.Name
	}
	if known == nil && len(h.ID) > 2 && h.ID[:2] == "i-" {
		h.ID = instanceARN(l.options.Region, l.options.Account, h.ID)
	}
	if h.Name == "" {
		h.Name = nameOf(h.ID)
	}
	h.OnPremises = h.OnPremises || !isInstance(h.ID)
	declared := l.service.declare(&host{Host: h})
	l.service.mu.Lock()
	defer l.service.mu.Unlock()
	declared.implied = false
	return declared.copy(), nil
}

func (l *Lab) postHost(r *http.Request) (any, error) {
	var h Host
	if err := decode(r, &h); err != nil {
		return nil, err
	}
	return l.DeclareHost(h)
}

// views are all deployments, newest first, or the one with that id.
func (l *Lab) views(id string) []DeploymentView {
	l.service.mu.Lock()
	defer l.service.mu.Unlock()
	all := []DeploymentView{}
	for _, d := range l.service.newest() {
		if id != "" && d.info.DeploymentID != id {
			continue
		}
		v := DeploymentView{deploymentInfo: d.describe(), Targets: []TargetView{}}
		for _, t := range d.targets {
			v.Targets = append(v.Targets, t.describe(d))
		}
		all = append(all, v)
	}
	return all
}

func (l *Lab) getView(r *http.Request) (any, error) {
	all := l.views(r.PathValue("id"))
	if len(all) == 0 {
		return nil, fmt.Errorf("deployment %s: %w", r.PathValue("id"), errUnknown)
	}
	return all[0], nil
}

func (l *Lab) postFault(r *http.Request) (any, error) {
	var f Fault
	if err := decode(r, &f); err != nil {
		return nil, err
	}
	id, err := l.AddFault(f)
	return map[string]string{"id": id}, err
}

// AddFault puts a fault in and returns its id.
func (l *Lab) AddFault(f Fault) (string, error) {
	if f.Skew != 0 {
		if err := f.check(); err != nil {
			return "", err
		}
		return l.control.skew(f), nil
	}
	return l.faults.add(f)
}

// clearFaults takes out one fault, or all.
func (l *Lab) clearFaults(id string) map[string]int {
	return map[string]int{"removed": l.faults.remove(id) + l.control.unskew(id)}
}

func (l *Lab) postCommand(r *http.Request) (any, error) {
	var c CommandRequest
	if err := decode(r, &c); err != nil {
		return nil, err
	}
	l.service.mu.Lock()
	h := l.service.host(c.Host)
	l.service.mu.Unlock()
	if h != nil {
		c.Host = h.ID
	}
	if c.Host == "" {
		return nil, errors.New("a command needs a host")
	}
	id, err := l.control.inject(c)
	return map[string]string{"id": id}, err
}

func (l *Lab) getCommand(r *http.Request) (any, error) {
	v, ok := l.control.view(r.PathValue("id"))
	if !ok {
		return nil, fmt.Errorf("command %s: %w", r.PathValue("id"), errUnknown)
	}
	return v, nil
}

// stream answers GET /lab/events: the events so far as JSON lines, and with follow=1 those to come. Query:
// deployment restricts them, since is the last seq already known.
func (l *Lab) stream(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	since, err := strconv.Atoi(q.Get("since"))
	if err != nil && q.Get("since") != "" {
		writePlainError(w, http.StatusBadRequest, fmt.Errorf("since: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	flush := http.NewResponseController(w)
	flush.Flush() //nolint:errcheck // a client that does not get it will not get the events either
	enc := json.NewEncoder(w)
	for e := range l.hub.all(r.Context(), since, q.Get("follow") == "1") {
		if want := q.Get("deployment"); want != "" && e.Deployment != want {
			continue
		}
		if enc.Encode(e) != nil || flush.Flush() != nil {
			return
		}
	}
}

// postDeploy stores the body as a bundle and deploys it, making application and group where there are none. The query
// may give application, group, key, bundleType, config, description and fileExistsBehavior.
func (l *Lab) postDeploy(r *http.Request) (any, error) {
	q := r.URL.Query()
	get := func(name, def string) string {
		if v := q.Get(name); v != "" {
			return v
		}
		return def
	}
	bundle, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	application, group, bundleType := get("application", "lab"), get("group", "lab"), get("bundleType", "zip")
	location := &s3Location{Bucket: l.options.Buckets[0], Key: get("key", "bundle."+bundleType), BundleType: bundleType}
	if location.ETag, location.Version, err = l.objects.put(location.Bucket, location.Key, bundle); err != nil {
		return nil, fmt.Errorf("store the bundle: %w", err)
	}
	s := l.service
	s.mu.Lock()
	defer s.mu.Unlock()
	create := &createDeploymentInput{
		ApplicationName: application, DeploymentGroupName: group, DeploymentConfigName: q.Get("config"), Description: q.Get("description"),
		FileExistsBehavior: q.Get("fileExistsBehavior"), Revision: &revisionLocation{RevisionType: "S3", S3Location: location},
	}
	if s.applications[application] == nil {
		if _, err := s.createApplication(&struct {
			ApplicationName, ComputePlatform string
			Tags                             []tag
		}{ApplicationName: application}); err != nil {
			return nil, err
		}
	}
	if !slices.Contains(slices.Collect(maps.Keys(s.applications[application].groups)), group) {
		in := &groupInput{ApplicationName: application, DeploymentGroupName: group, groupSettings: groupSettings{ServiceRoleArn: "arn:aws:iam::" + s.account + ":role/lab", DeploymentConfigName: configAllAtOnce}}
		if _, err := s.createGroup(in); err != nil {
			return nil, err
		}
	}
	return s.createDeployment(create)
}
