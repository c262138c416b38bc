package identity

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// partition is a group of regions with one DNS suffix.
type partition struct {
	prefix string // of its region names; "" for all others
	id     string // as ARNs write it
	domain string
}

// partitions is what regions belong to when the metadata service does not say (P-5, X-19). The last matches all.
var partitions = []partition{
	{"cn-", "aws-cn", "amazonaws.com.cn"},
	{"eusc-", "aws-eusc", "amazonaws.eu"},
	{"us-gov-", "aws-us-gov", "amazonaws.com"},
	{"us-iso-", "aws-iso", "c2s.ic.gov"},
	{"us-isob-", "aws-iso-b", "sc2s.sgov.gov"},
	{"eu-isoe-", "aws-iso-e", "cloud.adc-e.uk"},
	{"us-isof-", "aws-iso-f", "csp.hci.ic.gov"},
	{"", "aws", "amazonaws.com"},
}

// partitionOf finds the partition of a region.
func partitionOf(region string) partition {
	i := slices.IndexFunc(partitions, func(p partition) bool { return strings.HasPrefix(region, p.prefix) })
	return partitions[i]
}

// regionPatterns say which regions a domain may be told with (P-6); the isolated partitions are our addition.
var regionPatterns = map[string]func() *regexp.Regexp{
	"amazonaws.com":    pattern(`^[0-9a-z-]{1,20}$`),
	"amazonaws.eu":     pattern(`^[0-9a-z-]{1,20}$`),
	"amazonaws.com.cn": pattern(`^cn-\w+-\d+$`),
	"c2s.ic.gov":       pattern(`^us-iso-\w+-\d+$`),
	"sc2s.sgov.gov":    pattern(`^us-isob-\w+-\d+$`),
	"cloud.adc-e.uk":   pattern(`^eu-isoe-\w+-\d+$`),
	"csp.hci.ic.gov":   pattern(`^us-isof-\w+-\d+$`),
}

// Parts of a host name: whoever answers in the metadata service's place must not choose the host by punctuation.
var (
	regionForm = pattern(`^[0-9a-z]([0-9a-z-]{0,38}[0-9a-z])?$`)
	domainForm = pattern(`^[0-9a-z]([0-9a-z-]*[0-9a-z])?(\.[0-9a-z]([0-9a-z-]*[0-9a-z])?)+$`)
)

// pattern compiles a regular expression when it is first asked for: the program is also started for work that asks nobody who it is.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

// fipsRegions have FIPS endpoints (C-15).
var fipsRegions = []string{"us-east-1", "us-east-2", "us-west-1", "us-west-2", "us-gov-west-1", "us-gov-east-1"}

// EndpointOptions says which door of a service is wanted.
type EndpointOptions struct {
	Override       string // deploy_control_endpoint or s3_endpoint_override; used as it stands
	Region         string
	Domain         string // "" for the partition table's
	CheckPartition bool   // hold Region and Domain to each other (P-6); Identity knows whether that is due
	FIPS           bool
	AuthPolicy     bool // the command service's secure door
}

// CommandEndpoint gives the URL of the command service (P-1 to P-8). Its errors are about the configuration: trying
// again does not help.
func CommandEndpoint(o EndpointOptions) (string, error) {
	if err := o.checkFIPS(); err != nil {
		return "", err
	}
	if o.Override != "" {
		return override("deploy_control_endpoint", o.Override)
	}
	domain, err := o.domain()
	if err != nil {
		return "", err
	}
	label := "codedeploy-commands"
	if o.AuthPolicy {
		label += "-secure"
	}
	if o.FIPS {
		label += "-fips"
	}
	return "https://" + label + "." + o.Region + "." + domain, nil
}

// S3Endpoint gives the URL for S3, or "" for the one that the SDK knows (I-12).
func S3Endpoint(o EndpointOptions) (string, error) {
	if err := o.checkFIPS(); err != nil {
		return "", err
	}
	switch {
	case o.Override != "":
		return override("s3_endpoint_override", o.Override)
	case o.FIPS:
		return "https://s3-fips." + o.Region + ".amazonaws.com", nil
	case strings.HasPrefix(o.Region, "eusc-"):
		return "https://s3." + o.Region + ".amazonaws.eu", nil
	default:
		return "", nil
	}
}

func (o EndpointOptions) checkFIPS() error {
	if o.FIPS && !slices.Contains(fipsRegions, o.Region) {
		return fmt.Errorf("use_fips_mode: region %q has no FIPS endpoints; it must be one of %s", o.Region, strings.Join(fipsRegions, ", "))
	}
	return nil
}

// domain checks region and domain and falls back to the partition table.
func (o EndpointOptions) domain() (string, error) {
	if o.Region == "" {
		return "", errors.New("no region: set AWS_REGION, or deploy_control_endpoint")
	}
	if !regionForm().MatchString(o.Region) {
		return "", fmt.Errorf("region %q is not the name of a region", o.Region)
	}
	domain := o.Domain
	if domain == "" {
		domain = partitionOf(o.Region).domain
	}
	if !domainForm().MatchString(domain) {
		return "", fmt.Errorf("the metadata service's domain %q is not a domain name", domain)
	}
	if o.CheckPartition {
		form, known := regionPatterns[domain]
		if !known {
			return "", fmt.Errorf("the metadata service's domain %q belongs to no known partition", domain)
		}
		if !form().MatchString(o.Region) {
			return "", fmt.Errorf("region %q does not belong to the partition of domain %q", o.Region, domain)
		}
	}
	return domain, nil
}

func override(key, text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return "", fmt.Errorf("%s is not a URL with http or https and a host", key)
	}
	return text, nil
}
