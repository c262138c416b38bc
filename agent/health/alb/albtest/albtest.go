// Package albtest is the balancer's API for tests: the two calls that package alb makes, over real HTTP, with the signature of each verified.
package albtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Group is a target group with its targets.
type Group struct {
	ARN, Name, Type                        string
	Protocol, Version, Path, Port, Matcher string // of the health check
	TrafficPort                            int
	Interval, Timeout, Healthy, Unhealthy  int
	Targets                                []Target
}

// Target is one of a group's targets.
type Target struct {
	ID                         string
	Port                       int
	State, Reason, Description string
}

// Server is the API.
type Server struct {
	Region, AccessKey, SecretKey string
	*httptest.Server

	mu     sync.Mutex // guards what follows
	groups map[string]Group
	deny   bool
	calls  []string
}

// Start starts a server that knows the groups.
func Start(region, accessKey, secretKey string, groups ...Group) *Server {
	s := &Server{Region: region, AccessKey: accessKey, SecretKey: secretKey, groups: map[string]Group{}}
	for _, g := range groups {
		s.groups[g.ARN] = g
	}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

// Deny makes every call one that the policy does not allow.
func (s *Server) Deny() { s.mu.Lock(); s.deny = true; s.mu.Unlock() }

// Calls are the actions that were called, in order.
func (s *Server) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.calls...)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		fail(w, http.StatusBadRequest, "InvalidRequest", err.Error())
		return
	}
	if problem := s.verify(r, body); problem != "" {
		fail(w, http.StatusForbidden, "SignatureDoesNotMatch", problem)
		return
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || form.Get("Version") != "2015-12-01" {
		fail(w, http.StatusBadRequest, "InvalidParameterValue", "Version must be 2015-12-01")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	action := form.Get("Action")
	s.calls = append(s.calls, action)
	if s.deny {
		fail(w, http.StatusForbidden, "AccessDenied", "User is not authorized to perform: elasticloadbalancing:"+action)
		return
	}
	arn := form.Get("TargetGroupArn") + form.Get("TargetGroupArns.member.1")
	g, ok := s.groups[arn]
	switch {
	case action != "DescribeTargetGroups" && action != "DescribeTargetHealth":
		fail(w, http.StatusBadRequest, "InvalidAction", "Could not find operation "+action)
	case !ok:
		fail(w, http.StatusBadRequest, "TargetGroupNotFound", "One or more target groups not found")
	case action == "DescribeTargetGroups":
		answer(w, action, g.describe())
	default:
		answer(w, action, g.health())
	}
}

// verify signs the same call again and compares.
func (s *Server) verify(r *http.Request, body []byte) string {
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || time.Since(at).Abs() > 5*time.Minute {
		return "X-Amz-Date is missing or too far off"
	}
	again := r.Clone(r.Context())
	again.Body, again.Host = io.NopCloser(bytes.NewReader(body)), r.Host
	again.URL = &url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path}
	given := r.Header.Get("Authorization")
	again.Header = http.Header{}
	_, list, _ := strings.Cut(given, "SignedHeaders=")
	list, _, _ = strings.Cut(list, ",")
	for _, name := range strings.Split(list, ";") {
		if v := r.Header.Get(name); v != "" && name != "host" && name != "x-amz-date" {
			again.Header.Set(name, v)
		}
	}
	again.ContentLength = int64(len(body))
	sum := sha256.Sum256(body)
	keys := aws.Credentials{AccessKeyID: s.AccessKey, SecretAccessKey: s.SecretKey}
	if err := v4.NewSigner().SignHTTP(r.Context(), keys, again, hex.EncodeToString(sum[:]), "elasticloadbalancing", s.Region, at); err != nil {
		return err.Error()
	}
	if given != again.Header.Get("Authorization") {
		return "The request signature we calculated does not match the signature you provided."
	}
	return ""
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<ErrorResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"><Error><Type>Sender</Type>%s%s</Error><RequestId>1</RequestId></ErrorResponse>`,
		element("Code", code), element("Message", message))
}

func answer(w http.ResponseWriter, action, content string) {
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, "<?xml version=\"1.0\"?>\n<%[1]sResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\">\n <%[1]sResult>\n%[2]s\n </%[1]sResult>\n <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>\n</%[1]sResponse>\n", action, content)
}

func (g Group) describe() string {
	return "<TargetGroups><member>" + element("TargetGroupArn", g.ARN) + element("TargetGroupName", g.Name) + element("Protocol", "HTTP") +
		element("Port", strconv.Itoa(g.TrafficPort)) + element("VpcId", "vpc-1") + element("HealthCheckProtocol", g.Protocol) + element("HealthCheckPort", g.Port) +
		element("HealthCheckEnabled", "true") + element("HealthCheckIntervalSeconds", strconv.Itoa(g.Interval)) + element("HealthCheckTimeoutSeconds", strconv.Itoa(g.Timeout)) +
		element("HealthyThresholdCount", strconv.Itoa(g.Healthy)) + element("UnhealthyThresholdCount", strconv.Itoa(g.Unhealthy)) + element("HealthCheckPath", g.Path) +
		"<Matcher>" + element("HttpCode", g.Matcher) + "</Matcher><LoadBalancerArns/>" + element("TargetType", g.Type) + element("ProtocolVersion", g.Version) +
		element("IpAddressType", "ipv4") + "</member></TargetGroups>"
}

func (g Group) health() string {
	var b strings.Builder
	b.WriteString("<TargetHealthDescriptions>")
	for _, t := range g.Targets {
		b.WriteString("<member><Target>" + element("Id", t.ID) + element("Port", strconv.Itoa(t.Port)) + "</Target>" + element("HealthCheckPort", strconv.Itoa(t.Port)) +
			"<TargetHealth>" + element("State", t.State) + element("Reason", t.Reason) + element("Description", t.Description) + "</TargetHealth></member>")
	}
	return b.String() + "</TargetHealthDescriptions>"
}

func element(name, text string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(text)) //nolint:errcheck // into memory
	return "<" + name + ">" + b.String() + "</" + name + ">"
}
