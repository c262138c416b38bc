package identity

import (
	"strings"
	"testing"
)

func TestCommandEndpoint(t *testing.T) {
	tests := []struct {
		name string
		o    EndpointOptions
		want string // "!text" for an error that holds it
	}{
		{"P-1 P-2", EndpointOptions{Region: "us-east-1", Domain: "amazonaws.com"}, "https://codedeploy-commands.us-east-1.amazonaws.com"},
		{"P-4 China", EndpointOptions{Region: "cn-north-1", Domain: "amazonaws.com.cn"}, "https://codedeploy-commands.cn-north-1.amazonaws.com.cn"},
		{"P-1 FIPS and auth policy in GovCloud", EndpointOptions{Region: "us-gov-west-1", Domain: "amazonaws.com", FIPS: true, AuthPolicy: true}, "https://codedeploy-commands-secure-fips.us-gov-west-1.amazonaws.com"},
		{"P-1 auth policy", EndpointOptions{Region: "eu-west-1", AuthPolicy: true}, "https://codedeploy-commands-secure.eu-west-1.amazonaws.com"},
		{"P-1 FIPS", EndpointOptions{Region: "us-west-2", FIPS: true}, "https://codedeploy-commands-fips.us-west-2.amazonaws.com"},
		{"P-7 isolated, told", EndpointOptions{Region: "us-iso-east-1", Domain: "c2s.ic.gov"}, "https://codedeploy-commands.us-iso-east-1.c2s.ic.gov"},
		{"P-5 European sovereign", EndpointOptions{Region: "eusc-de-east-1"}, "https://codedeploy-commands.eusc-de-east-1.amazonaws.eu"},
		{"P-5 China", EndpointOptions{Region: "cn-northwest-1"}, "https://codedeploy-commands.cn-northwest-1.amazonaws.com.cn"},
		{"P-5 GovCloud", EndpointOptions{Region: "us-gov-east-1"}, "https://codedeploy-commands.us-gov-east-1.amazonaws.com"},
		{"X-19 iso", EndpointOptions{Region: "us-iso-west-1"}, "https://codedeploy-commands.us-iso-west-1.c2s.ic.gov"},
		{"X-19 isob", EndpointOptions{Region: "us-isob-east-1"}, "https://codedeploy-commands.us-isob-east-1.sc2s.sgov.gov"},
		{"X-19 isoe", EndpointOptions{Region: "eu-isoe-west-1"}, "https://codedeploy-commands.eu-isoe-west-1.cloud.adc-e.uk"},
		{"X-19 isof", EndpointOptions{Region: "us-isof-south-1"}, "https://codedeploy-commands.us-isof-south-1.csp.hci.ic.gov"},
		{"P-3 override as it stands", EndpointOptions{Override: "http://127.0.0.1:8080", Region: "x", Domain: "evil", CheckPartition: true}, "http://127.0.0.1:8080"},
		{"P-3 override with a path", EndpointOptions{Override: "https://proxy.example/codedeploy/"}, "https://proxy.example/codedeploy/"},
		{"V-6 override is no URL", EndpointOptions{Override: "codedeploy.example"}, "!deploy_control_endpoint"},
		{"P-5 no region", EndpointOptions{}, "!no region"},
		{"region with a dot", EndpointOptions{Region: "us-east-1.evil.example/"}, "!not the name of a region"},
		{"domain with a slash", EndpointOptions{Region: "us-east-1", Domain: "evil.example/x"}, "!not a domain name"},
		{"P-6 fits", EndpointOptions{Region: "us-east-1", Domain: "amazonaws.com", CheckPartition: true}, "https://codedeploy-commands.us-east-1.amazonaws.com"},
		{"P-6 China fits", EndpointOptions{Region: "cn-north-1", Domain: "amazonaws.com.cn", CheckPartition: true}, "https://codedeploy-commands.cn-north-1.amazonaws.com.cn"},
		{"P-6 region of another partition", EndpointOptions{Region: "us-east-1", Domain: "amazonaws.com.cn", CheckPartition: true}, "!does not belong to the partition"},
		{"P-6 region too long", EndpointOptions{Region: "us-very-far-away-east-1", Domain: "amazonaws.com", CheckPartition: true}, "!does not belong to the partition"},
		{"P-6 unknown domain", EndpointOptions{Region: "us-east-1", Domain: "evil.example", CheckPartition: true}, "!no known partition"},
		{"P-6 not due: a new partition's domain is taken", EndpointOptions{Region: "us-new-1", Domain: "new.example"}, "https://codedeploy-commands.us-new-1.new.example"},
		{"P-6 X-19 isolated", EndpointOptions{Region: "us-iso-east-1", Domain: "c2s.ic.gov", CheckPartition: true}, "https://codedeploy-commands.us-iso-east-1.c2s.ic.gov"},
		{"C-15 FIPS elsewhere", EndpointOptions{Region: "eu-west-1", FIPS: true}, "!no FIPS endpoints"},
		{"C-15 FIPS elsewhere with an override", EndpointOptions{Region: "eu-west-1", FIPS: true, Override: "https://x.example"}, "!no FIPS endpoints"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { check(t, CommandEndpoint, tt.o, tt.want) })
	}
	for _, region := range []string{"us-east-1", "us-east-2", "us-west-1", "us-west-2", "us-gov-west-1", "us-gov-east-1"} { // C-15
		check(t, CommandEndpoint, EndpointOptions{Region: region, FIPS: true}, "https://codedeploy-commands-fips."+region+".amazonaws.com")
	}
}

func TestS3Endpoint(t *testing.T) { // I-12
	check(t, S3Endpoint, EndpointOptions{Region: "us-east-1"}, "")
	check(t, S3Endpoint, EndpointOptions{Region: "us-east-1", Override: "http://127.0.0.1:9000"}, "http://127.0.0.1:9000")
	check(t, S3Endpoint, EndpointOptions{Region: "us-east-1", Override: "http://127.0.0.1:9000", FIPS: true}, "http://127.0.0.1:9000")
	check(t, S3Endpoint, EndpointOptions{Region: "us-west-2", FIPS: true}, "https://s3-fips.us-west-2.amazonaws.com")
	check(t, S3Endpoint, EndpointOptions{Region: "eusc-de-east-1"}, "https://s3.eusc-de-east-1.amazonaws.eu")
	check(t, S3Endpoint, EndpointOptions{Region: "eu-west-1", FIPS: true}, "!no FIPS endpoints")
	check(t, S3Endpoint, EndpointOptions{Region: "eu-west-1", Override: "ftp://x"}, "!s3_endpoint_override")
}

func check(t *testing.T, f func(EndpointOptions) (string, error), o EndpointOptions, want string) {
	t.Helper()
	got, err := f(o)
	if text, fails := strings.CutPrefix(want, "!"); fails {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: %q, %v; want an error with %q", o, got, err, text)
		}
		return
	}
	if err != nil || got != want {
		t.Errorf("%+v = %q, %v; want %q", o, got, err, want)
	}
}
