package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
	"time"
)

// A Host is one machine that the lab deploys to.
type Host struct {
	// ID is the host identifier that the agent polls with (P-70): an instance ARN, or an IAM user or session ARN.
	ID string `json:"id"`
	// Name is what the public API calls it: the instance id, or the on-premises instance name.
	Name string `json:"name"`
	// Tags decide which deployment groups it belongs to.
	Tags map[string]string `json:"tags,omitempty"`
	// AutoScalingGroup is the name of the group that launched it, if any.
	AutoScalingGroup string `json:"autoScalingGroup,omitempty"`
	// LifecycleState is what the metadata service says: InService, Terminated …; only with an Auto Scaling group or when set.
	LifecycleState string `json:"lifecycleState,omitempty"`
	// OnPremises hosts have no metadata service.
	OnPremises bool `json:"onPremises,omitempty"`
	// Endpoint is the URL of its metadata service; set by the lab.
	Endpoint string `json:"endpoint,omitempty"`
	// FirstSeen is when it first polled or asked for metadata; zero if it never did.
	FirstSeen time.Time `json:"firstSeen,omitzero"`
	LastSeen  time.Time `json:"lastSeen,omitzero"`
	// Version is the agent version that it sent last (P-13).
	Version string `json:"version,omitempty"`
}

// host is a Host as the lab keeps it.
type host struct {
	Host
	implied      bool // one instance by default: counts only once it is seen or if nothing else does
	deregistered bool // an on-premises instance that was
	keys         roleKeys
}

// roleKeys are the temporary credentials of an instance's role.
type roleKeys struct {
	access, secret, token string
}

// copy returns what may leave the lock.
func (h *host) copy() Host {
	c := h.Host
	c.Tags = maps.Clone(h.Tags)
	return c
}

// instanceHost is the n-th EC2 identity. Ids and keys follow from n, so that a restarted lab knows its instances.
func instanceHost(region, account string, n int) *host {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", region, account, n))
	name := "i-" + hex.EncodeToString(sum[:])[:17]
	suffix := strings.ToUpper(hex.EncodeToString(sum[17:25]))
	return &host{
		Host: Host{ID: instanceARN(region, account, name), Name: name, Tags: map[string]string{}},
		keys: roleKeys{access: "ASIA" + suffix, secret: hex.EncodeToString(sum[:20]), token: "LabSessionToken" + hex.EncodeToString(sum[:])},
	}
}

// nameOf is the public API's name of a host identifier: the part after instance/, else after the last slash.
func nameOf(id string) string {
	if _, name, ok := strings.Cut(id, ":instance/"); ok {
		return name
	}
	return id[strings.LastIndex(id, "/")+1:]
}

// isInstance tells an EC2 identifier from that of a registered machine.
func isInstance(id string) bool {
	return strings.Contains(id, ":instance/") || strings.HasPrefix(id, "i-")
}

// partition is the ARN partition of a region.
func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	case strings.HasPrefix(region, "eusc-"):
		return "aws-eusc"
	}
	return "aws"
}

// domain is the DNS suffix of a region's partition.
func domain(region string) string {
	switch partition(region) {
	case "aws-cn":
		return "amazonaws.com.cn"
	case "aws-eusc":
		return "amazonaws.eu"
	}
	return "amazonaws.com"
}

func instanceARN(region, account, instance string) string {
	return fmt.Sprintf("arn:%s:ec2:%s:%s:instance/%s", partition(region), region, account, instance)
}
