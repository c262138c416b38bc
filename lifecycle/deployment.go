package lifecycle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"slipway/lifecycle/bundle"
)

// Deployment is a deployment specification: what the service (or a local deployment) asks for. It is the content of the
// signed envelope, after verification (P-60..P-69).
type Deployment struct {
	ID              string // the id without its ARN part (P-65)
	GroupID         string // names the folder under the deployment root
	GroupName       string
	Application     string
	Creator         string // "user" by default; "codeDeployRollback" matters (H-4)
	Type            string // "IN_PLACE" by default; "BLUE_GREEN" matters (H-4)
	AppSpecFilename string // relative to the archive's root; "appspec.yml" by default
	// FileExistsBehavior is the deployment's override, upper-cased; "DISALLOW" by default (P-66). An appspec's own word wins.
	FileExistsBehavior string
	// PossibleEvents are the events that the deployment may have; empty: unknown.
	PossibleEvents []string
	Revision       bundle.Revision
	// ReuseFrom names a deployment whose unpacked archive may be taken over (V-32). Advice: downloading instead is always right.
	ReuseFrom string
	// Local marks a deployment of the local tool: H-5 then decides whose scripts run.
	Local bool
	// Undoes is the deployment that a local undo takes back; empty for any other deployment.
	Undoes string
}

// A SpecificationError says which key of a deployment specification is wrong, and how.
type SpecificationError struct {
	Key     string // dotted path, as "Revision.S3Revision.Bucket"; empty for the document
	Problem string
}

func (e *SpecificationError) Error() string {
	if e.Key == "" {
		return "deployment specification: " + e.Problem
	}
	return "deployment specification: " + e.Key + " " + e.Problem
}

// Defaults of a specification (P-65a..P-66).
const (
	defaultCreator  = "user"
	defaultType     = "IN_PLACE"
	defaultAppSpec  = "appspec.yml"
	defaultBehavior = "DISALLOW"
)

// ParseDeployment reads the content of a verified envelope. Unknown keys are ignored (P-64). Every error is a
// *SpecificationError. Revisions that name a path on the host are refused: they belong to local deployments.
func ParseDeployment(content []byte) (*Deployment, error) {
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		return nil, &SpecificationError{Problem: fmt.Sprintf("is not a JSON object: %v", err)}
	}
	if m == nil {
		return nil, &SpecificationError{Problem: "is not a JSON object: null"}
	}
	s := &spec{object: object{m: m}}
	d := &Deployment{
		ID:              deploymentID(s.required("DeploymentId")),
		GroupID:         s.required("DeploymentGroupId"),
		GroupName:       s.required("DeploymentGroupName"),
		Application:     s.required("ApplicationName"),
		Creator:         s.optional("DeploymentCreator", defaultCreator),
		Type:            s.optional("DeploymentType", defaultType),
		AppSpecFilename: s.optional("AppSpecFilename", defaultAppSpec),
		PossibleEvents:  s.names("AllPossibleLifecycleEvents"),
		ReuseFrom:       s.optional("ReuseArchiveFromDeploymentId", ""),
	}
	d.FileExistsBehavior = strings.ToUpper(s.child("AgentActionOverrides").child("AgentOverrides").optional("FileExistsBehavior", defaultBehavior))
	if s.err == nil {
		d.Revision = s.revision()
	}
	if s.err != nil {
		return nil, s.err
	}
	if err := d.confine(); err != nil {
		return nil, err
	}
	return d, nil
}

// deploymentID takes the id out of an ARN: the sixth field, after its first slash (P-65).
func deploymentID(id string) string {
	if !strings.HasPrefix(id, "arn:") {
		return id
	}
	fields := strings.SplitN(id, ":", 6)
	if len(fields) < 6 {
		return ""
	}
	_, after, _ := strings.Cut(fields[5], "/")
	return after
}

// confine refuses ids and names that would leave the folder they are used in (X-4, V-29, V-30).
func (d *Deployment) confine() error {
	for _, id := range []struct{ key, value string }{{"DeploymentId", d.ID}, {"DeploymentGroupId", d.GroupID}} {
		if id.value == "" || id.value == "." || id.value == ".." || strings.ContainsAny(id.value, "/\\\x00\n") || len(id.value) > 255 {
			return &SpecificationError{Key: id.key, Problem: fmt.Sprintf("is %q, which cannot be the name of a folder", id.value)}
		}
	}
	if strings.HasPrefix(d.GroupID, ".") {
		return &SpecificationError{Key: "DeploymentGroupId", Problem: fmt.Sprintf("is %q: a name that begins with a dot is taken", d.GroupID)}
	}
	for _, taken := range []string{instructionsFolder, logsFolder, trackingFolder} {
		if d.GroupID == taken {
			return &SpecificationError{Key: "DeploymentGroupId", Problem: fmt.Sprintf("is %q, a folder that the deployment root keeps for itself", taken)}
		}
	}
	if strings.ContainsAny(d.AppSpecFilename, "\\\x00") || !filepath.IsLocal(d.AppSpecFilename) {
		return &SpecificationError{Key: "AppSpecFilename", Problem: fmt.Sprintf("is %q, which is not a path inside the bundle", d.AppSpecFilename)}
	}
	return nil
}

// confined refuses a name that a person gave for a group or deployment on disk and that is none.
func confined(what, name string) error {
	if name == "" || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "/\\\x00\n") {
		return fmt.Errorf("%q is no name of a %s", name, what)
	}
	return nil
}

func (d *Deployment) blueGreenRollback() bool {
	return d.Creator == creatorRollback && d.Type == typeBlueGreen
}

// spec reads a specification and keeps the first thing that is wrong with it.
type spec struct {
	object
	err error
}

// object is one JSON object of the specification with its dotted path.
type object struct {
	path string
	m    map[string]any
}

func (o object) key(name string) string {
	if o.path == "" {
		return name
	}
	return o.path + "." + name
}

func (s *spec) fail(key, format string, args ...any) {
	if s.err == nil {
		s.err = &SpecificationError{Key: key, Problem: fmt.Sprintf(format, args...)}
	}
}

// text is the value of a key that is a string or absent. "Set" means present, not null and not empty (section 8).
func (s *spec) text(o object, name string) string {
	switch v := o.m[name].(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		s.fail(o.key(name), "is %s where a string belongs", kind(v))
		return ""
	}
}

func (s *spec) required(name string) string {
	v := s.text(s.object, name)
	if v == "" {
		s.fail(s.key(name), "is missing")
	}
	return v
}

func (s *spec) optional(name, otherwise string) string {
	if v := s.text(s.object, name); v != "" {
		return v
	}
	return otherwise
}

// child is the object under a key; an empty one if the key is absent.
func (s *spec) child(name string) *nested {
	return (&nested{spec: s, object: s.object}).child(name)
}

// nested reads a lower level of the specification.
type nested struct {
	*spec
	object object
}

func (n *nested) child(name string) *nested {
	c := &nested{spec: n.spec, object: object{path: n.object.key(name)}}
	switch v := n.object.m[name].(type) {
	case nil:
	case map[string]any:
		c.object.m = v
	default:
		n.fail(c.object.path, "is %s where an object belongs", kind(v))
	}
	return c
}

func (n *nested) optional(name, otherwise string) string {
	if v := n.text(n.object, name); v != "" {
		return v
	}
	return otherwise
}

// present is the text of a key that must exist, though it may be null (P-68a).
func (n *nested) present(name string) string {
	if _, ok := n.object.m[name]; !ok {
		n.fail(n.object.key(name), "is missing")
	}
	return n.text(n.object, name)
}

func (s *spec) names(name string) []string {
	switch v := s.m[name].(type) {
	case nil:
		return nil
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			text, ok := e.(string)
			if !ok {
				s.fail(s.key(name), "holds %s where the name of an event belongs", kind(e))
				return nil
			}
			out = append(out, text)
		}
		return out
	default:
		s.fail(s.key(name), "is %s where a list belongs", kind(v))
		return nil
	}
}

func (s *spec) revision() bundle.Revision {
	if _, ok := s.m["Revision"]; !ok {
		s.fail("Revision", "is missing")
		return bundle.Revision{}
	}
	r := s.child("Revision")
	switch t := r.present("RevisionType"); t {
	case "S3":
		return s.s3(r.child("S3Revision"))
	case "GitHub":
		return s.gitHub(r.child("GitHubRevision"))
	case "Local File", "Local Directory":
		s.fail("Revision.RevisionType", "is %q: paths on this host are deployed by the local command alone, never by the service", t)
	default:
		s.fail("Revision.RevisionType", "is %q; it is one of S3, GitHub", t)
	}
	return bundle.Revision{}
}

func (s *spec) s3(r *nested) bundle.Revision {
	format := r.present("BundleType")
	rev := bundle.Revision{Type: bundle.S3, S3: bundle.S3Location{
		Bucket: r.present("Bucket"), Key: r.present("Key"),
		Version: r.optional("Version", ""), ETag: r.optional("ETag", ""),
		Format: bundle.Format(format),
	}}
	switch {
	case s.err != nil:
	case format != "tar" && format != "tgz" && format != "zip":
		s.fail("Revision.S3Revision.BundleType", "is %q; it is one of tar, tgz, zip", format)
	case rev.S3.Bucket == "" || rev.S3.Key == "":
		s.fail("Revision.S3Revision", "names no object: bucket %q, key %q", rev.S3.Bucket, rev.S3.Key)
	}
	return rev
}

func (s *spec) gitHub(r *nested) bundle.Revision {
	rev := bundle.Revision{Type: bundle.GitHub, GitHub: bundle.GitHubLocation{
		Account: r.present("Account"), Repository: r.present("Repository"), CommitID: r.present("CommitId"),
		Token: s.text(s.object, "GitHubAccessToken"),
	}}
	// The type of a GitHub bundle is tar on Linux when nothing is said (I-13).
	rev.GitHub.Format = bundle.Format(r.optional("BundleType", "tar"))
	if anonymous, ok := r.object.m["Anonymous"].(bool); ok && !anonymous {
		if _, ok := r.object.m["OAuthToken"]; !ok {
			s.fail("Revision.GitHubRevision.OAuthToken", "is missing though Anonymous is false")
		}
	}
	return rev
}

func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case json.Number:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "a list"
	default:
		return "an object"
	}
}
