//go:build packer

package packaging

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"slipway/packaging/iam/iamtest"
)

// tagSpecifications are the tags that a call gives to what it creates, by the kind of resource.
func tagSpecifications(form url.Values) map[string]map[string]string {
	all := map[string]map[string]string{}
	for i := 1; form.Has("TagSpecification." + strconv.Itoa(i) + ".ResourceType"); i++ {
		spec := "TagSpecification." + strconv.Itoa(i) + "."
		all[form.Get(spec+"ResourceType")] = tagsOf(form, spec)
	}
	return all
}

// tagsOf are the tags whose fields begin with a prefix.
func tagsOf(form url.Values, prefix string) map[string]string {
	tags := map[string]string{}
	for i := 1; form.Has(prefix + "Tag." + strconv.Itoa(i) + ".Key"); i++ {
		field := prefix + "Tag." + strconv.Itoa(i) + "."
		tags[form.Get(field+"Key")] = form.Get(field + "Value")
	}
	return tags
}

// values are those of a list.
func values(form url.Values, name string) []string {
	var all []string
	for i := 1; form.Has(name + "." + strconv.Itoa(i)); i++ {
		all = append(all, form.Get(name+"."+strconv.Itoa(i)))
	}
	return all
}

// keys are condition keys with their values.
type keys map[string][]string

// request adds the tags that a request gives to a resource.
func (k keys) request(tags map[string]string) keys {
	for key, value := range tags {
		k["aws:RequestTag/"+key] = []string{value}
	}
	if len(tags) > 0 {
		k["aws:TagKeys"] = slices.Sorted(maps.Keys(tags))
	}
	return k
}

// resource adds the tags that a resource has.
func (k keys) resource(tags map[string]string) keys {
	for key, value := range tags {
		k["aws:ResourceTag/"+key], k["ec2:ResourceTag/"+key] = []string{value}, []string{value}
	}
	return k
}

// kindOf is the kind of what has an id.
func kindOf(id string) string {
	prefix, _, _ := strings.Cut(id, "-")
	return map[string]string{"i": "instance", "ami": "image", "snap": "snapshot", "sg": "security-group", "vol": "volume", "subnet": "subnet"}[prefix]
}

// needs are the permissions that EC2 asks for before it carries out a call: one for each resource that the call is about, the permission to tag for
// each resource that is created with tags, and the one to hand a role to the instance. What belongs to which action is in AWS's service
// authorization reference, which TestReference holds this against. A call that no bake is expected to make is an error.
func (e *ec2) needs(c *call) ([]iamtest.Request, error) {
	n := &needs{e: e, c: c, action: c.service + ":" + c.action}
	form, specs := c.form, tagSpecifications(c.form)
	switch {
	case c.service == "ec2" && strings.HasPrefix(c.action, "Describe"), n.action == "sts:GetCallerIdentity":
		n.on("*", nil)
	case n.action == "iam:GetInstanceProfile":
		n.on("arn:aws:iam::"+bakeAccount+":instance-profile/"+form.Get("InstanceProfileName"), nil)
	case n.action == "ec2:CreateKeyPair":
		n.new("key-pair", form.Get("KeyName"), specs, keys{"ec2:KeyPairType": {form.Get("KeyType")}})
	case n.action == "ec2:DeleteKeyPair":
		n.there("key-pair", form.Get("KeyName"), keys{"ec2:KeyPairName": {form.Get("KeyName")}})
	case n.action == "ec2:CreateSecurityGroup":
		n.new("security-group", "*", specs, keys{})
		n.there("vpc", "vpc-0123", keys{"ec2:VpcID": {"vpc-0123"}})
	case slices.Contains([]string{"ec2:AuthorizeSecurityGroupIngress", "ec2:DeleteSecurityGroup"}, n.action):
		n.there("security-group", form.Get("GroupId"), keys{"ec2:SecurityGroupID": {form.Get("GroupId")}})
	case n.action == "ec2:RunInstances":
		n.run(specs)
	case slices.Contains([]string{"ec2:StopInstances", "ec2:TerminateInstances"}, n.action):
		for _, id := range values(form, "InstanceId") {
			n.there("instance", id, keys{"ec2:InstanceID": {id}})
		}
	case n.action == "ec2:CreateImage":
		n.there("instance", form.Get("InstanceId"), keys{"ec2:InstanceID": {form.Get("InstanceId")}})
		n.new("image", "*", specs, keys{})
		n.new("snapshot", "*", specs, keys{})
	case slices.Contains([]string{"ec2:ModifyImageAttribute", "ec2:DeregisterImage"}, n.action):
		n.there("image", form.Get("ImageId"), keys{"ec2:ImageID": {form.Get("ImageId")}, "ec2:Owner": {bakeAccount}})
	case n.action == "ec2:DeleteSnapshot":
		n.there("snapshot", form.Get("SnapshotId"), keys{"ec2:SnapshotID": {form.Get("SnapshotId")}, "ec2:Owner": {bakeAccount}})
	case n.action == "ec2:CreateTags":
		for _, id := range values(form, "ResourceId") {
			n.there(kindOf(id), id, keys{}.request(tagsOf(form, "")))
		}
	default:
		return nil, fmt.Errorf("%s is not known here", n.action)
	}
	return n.all, nil
}

// needs collects the permissions that a call asks for.
type needs struct {
	e      *ec2
	c      *call
	action string
	all    []iamtest.Request
}

// on asks for the action of the call, on a resource.
func (n *needs) on(arn string, with keys) { n.ask(n.action, arn, with) }

func (n *needs) ask(action, arn string, with keys) {
	context := map[string][]string{"aws:RequestedRegion": {n.c.region}}
	if strings.HasPrefix(action, "ec2:") {
		context["ec2:Region"] = []string{n.c.region}
	}
	maps.Copy(context, with)
	n.all = append(n.all, iamtest.Request{Action: action, Resource: arn, Context: context})
}

// arn is the name of a resource. Images and snapshots are of no account.
func (n *needs) arn(kind, id string) string {
	account := bakeAccount
	if kind == "image" || kind == "snapshot" {
		account = ""
	}
	return "arn:aws:ec2:" + n.c.region + ":" + account + ":" + kind + "/" + id
}

// there asks for the action on a resource that exists, with its tags.
func (n *needs) there(kind, id string, with keys) {
	n.on(n.arn(kind, id), with.resource(n.e.tags[id]))
}

// new asks for the action on a resource that comes of it, and if it gets tags for CreateTags.
func (n *needs) new(kind, id string, specs map[string]map[string]string, with keys) {
	n.on(n.arn(kind, id), with.request(specs[kind]))
	if len(specs[kind]) > 0 {
		n.ask("ec2:CreateTags", n.arn(kind, id), keys{"ec2:CreateAction": {n.c.action}}.request(specs[kind]))
	}
}

// run asks for what the launch of an instance is about.
func (n *needs) run(specs map[string]map[string]string) {
	form := n.c.form
	instance := keys{
		"ec2:InstanceType": {form.Get("InstanceType")}, "ec2:EbsOptimized": {form.Get("EbsOptimized")}, "ec2:RootDeviceType": {"ebs"},
		"ec2:MetadataHttpEndpoint": {form.Get("MetadataOptions.HttpEndpoint")}, "ec2:MetadataHttpTokens": {form.Get("MetadataOptions.HttpTokens")},
		"ec2:MetadataHttpPutResponseHopLimit": {form.Get("MetadataOptions.HttpPutResponseHopLimit")},
	}
	if name := form.Get("IamInstanceProfile.Name"); name != "" {
		instance["ec2:InstanceProfile"] = []string{"arn:aws:iam::" + bakeAccount + ":instance-profile/" + name}
		role := bakeRole
		if name != bakeProfile {
			role = "of-" + name
		}
		n.ask("iam:PassRole", "arn:aws:iam::"+bakeAccount+":role/"+role, keys{"iam:PassedToService": {"ec2.amazonaws.com"}})
	}
	n.new("instance", "*", specs, instance)
	image, owner := form.Get("ImageId"), bakeAccount
	if amazons(image) {
		owner = "amazon"
	}
	n.there("image", image, keys{"ec2:ImageID": {image}, "ec2:Owner": {owner}, "ec2:Public": {strconv.FormatBool(owner == "amazon")}, "ec2:RootDeviceType": {"ebs"}})
	encrypted := form.Get("BlockDeviceMapping.1.Ebs.Encrypted")
	if encrypted == "" {
		encrypted = "false"
	}
	n.new("volume", "*", specs, keys{"ec2:Encrypted": {encrypted}, "ec2:VolumeType": {form.Get("BlockDeviceMapping.1.Ebs.VolumeType")}})
	n.new("network-interface", "*", specs, keys{"ec2:Subnet": {"arn:aws:ec2:" + n.c.region + ":" + bakeAccount + ":subnet/subnet-0123"}})
	subnet := form.Get("SubnetId")
	if subnet == "" {
		subnet = "subnet-0123"
	}
	n.there("subnet", subnet, keys{"ec2:SubnetID": {subnet}})
	for _, group := range values(form, "SecurityGroupId") {
		n.there("security-group", group, keys{"ec2:SecurityGroupID": {group}})
	}
	if name := form.Get("KeyName"); name != "" {
		n.there("key-pair", name, keys{"ec2:KeyPairName": {name}})
	}
}
