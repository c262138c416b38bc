package alb

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	queryVersion = "2015-12-01"
	signingName  = "elasticloadbalancing"
	answerLimit  = 4 << 20
)

// TrafficPort is the health check port of a group that is checked where it gets its traffic.
const TrafficPort = "traffic-port"

// Group is a target group as the balancer's API describes it.
type Group struct {
	ARN, Name, Type string // Type is instance, ip, lambda or alb
	Port            int    // of the traffic, where a target has none of its own
	CheckPort       string // a number or TrafficPort
	Checked         bool   // false: health checks are switched off, which only Lambda groups can
	Settings        Target // without an address
}

// State is how the balancer sees one target.
type State struct {
	ID          string `json:"id"`
	Port        int    `json:"port"`
	CheckPort   string `json:"health_check_port,omitempty"`
	State       string `json:"state"` // initial, healthy, unhealthy, unused, draining, unavailable
	Reason      string `json:"reason,omitempty"`
	Description string `json:"description,omitempty"`
}

// An APIError is an answer of the balancer's API that is not the one asked for.
type APIError struct {
	Action, Code, Message string
	Status                int
}

func (e *APIError) Error() string {
	text := fmt.Sprintf("%s: HTTP %d %s: %s", e.Action, e.Status, e.Code, e.Message)
	switch e.Code {
	case "AccessDenied", "AccessDeniedException":
		text += " (the policy needs elasticloadbalancing:DescribeTargetGroups and elasticloadbalancing:DescribeTargetHealth)"
	case "TargetGroupNotFound":
		text += " (is it of this region and account?)"
	}
	return text
}

// Client reads target groups. It makes two calls, DescribeTargetGroups and DescribeTargetHealth, and changes nothing.
type Client struct {
	Endpoint    string // of the API; see Endpoint
	Region      string
	Credentials aws.CredentialsProvider
	HTTP        *http.Client // nil: one with a time-out of 15 s
}

// ParseARN takes region and partition from the ARN of a target group.
func ParseARN(arn string) (region, partition string, err error) {
	parts := strings.SplitN(arn, ":", 6)
	const resource = 5
	if len(parts) != resource+1 || parts[0] != "arn" || parts[2] != signingName || parts[3] == "" || !strings.HasPrefix(parts[resource], "targetgroup/") {
		return "", "", &SettingError{"target group", fmt.Sprintf("%q is no ARN of a target group, which is arn:aws:elasticloadbalancing:REGION:ACCOUNT:targetgroup/NAME/ID", arn)}
	}
	return parts[3], parts[1], nil
}

// Endpoint is the API's in a region.
func Endpoint(region, partition string) string {
	domain := "amazonaws.com"
	if partition == "aws-cn" {
		domain = "amazonaws.com.cn"
	}
	return "https://elasticloadbalancing." + region + "." + domain
}

// Group reads the settings of a target group.
func (c *Client) Group(ctx context.Context, arn string) (*Group, error) {
	answer, err := c.call(ctx, "DescribeTargetGroups", url.Values{"TargetGroupArns.member.1": {arn}})
	if err != nil {
		return nil, err
	}
	members := answer.at("DescribeTargetGroupsResult", "TargetGroups").all("member")
	if len(members) == 0 {
		return nil, &APIError{Action: "DescribeTargetGroups", Code: "TargetGroupNotFound", Message: "the answer names no group", Status: http.StatusOK}
	}
	m := members[0]
	seconds := func(name string) time.Duration { return time.Duration(m.number(name)) * time.Second }
	return &Group{
		ARN: m.text("TargetGroupArn"), Name: m.text("TargetGroupName"), Type: m.text("TargetType"), Port: m.number("Port"),
		CheckPort: cmp.Or(m.text("HealthCheckPort"), TrafficPort), Checked: m.text("HealthCheckEnabled") != "false",
		Settings: Target{
			Protocol: m.text("HealthCheckProtocol"), Version: m.text("ProtocolVersion"), Path: m.text("HealthCheckPath"),
			Matcher: m.at("Matcher").text("HttpCode"), Interval: seconds("HealthCheckIntervalSeconds"), Timeout: seconds("HealthCheckTimeoutSeconds"),
			Healthy: m.number("HealthyThresholdCount"), Unhealthy: m.number("UnhealthyThresholdCount"),
		},
	}, nil
}

// States reads how the balancer sees the targets of a group.
func (c *Client) States(ctx context.Context, arn string) ([]State, error) {
	answer, err := c.call(ctx, "DescribeTargetHealth", url.Values{"TargetGroupArn": {arn}})
	if err != nil {
		return nil, err
	}
	states := []State{}
	for _, m := range answer.at("DescribeTargetHealthResult", "TargetHealthDescriptions").all("member") {
		target, health := m.at("Target"), m.at("TargetHealth")
		states = append(states, State{
			ID: target.text("Id"), Port: target.number("Port"), CheckPort: m.text("HealthCheckPort"),
			State: health.text("State"), Reason: health.text("Reason"), Description: health.text("Description"),
		})
	}
	return states, nil
}

// call makes one signed call of the Query API.
func (c *Client) call(ctx context.Context, action string, form url.Values) (*node, error) {
	form.Set("Action", action)
	form.Set("Version", queryVersion)
	body := form.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.Endpoint, "/")+"/", strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", action, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	keys, err := c.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: credentials: %w", action, err)
	}
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(ctx, keys, req, hex.EncodeToString(sum[:]), signingName, c.Region, time.Now()); err != nil {
		return nil, fmt.Errorf("%s: sign the call: %w", action, err)
	}
	client := c.HTTP
	if client == nil {
		client = &http.Client{Timeout: 15 * time.Second}
	}
	own := *client // a signed call is not sent on to wherever an answer points
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := own.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", action, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil {
		return nil, fmt.Errorf("%s: read the answer: %w", action, err)
	}
	answer, err := parseXML(data)
	if resp.StatusCode != http.StatusOK {
		e := &APIError{Action: action, Status: resp.StatusCode, Code: "without a code", Message: "the answer is no XML of the API"}
		if err == nil {
			e.Code, e.Message = answer.at("Error").text("Code"), answer.at("Error").text("Message")
		}
		return nil, e
	}
	if err != nil {
		return nil, fmt.Errorf("%s: read the answer: %w", action, err)
	}
	return answer, nil
}

// node is an element of an answer. A nil node is one that is not there.
type node struct {
	name     string
	content  string
	children []*node
}

const (
	depthLimit = 32
	nodeLimit  = 100_000
)

// parseXML reads a document by its tokens; decoding into structs would add much of reflection to the program.
func parseXML(data []byte) (*node, error) {
	d := xml.NewDecoder(strings.NewReader(string(data)))
	var stack []*node
	for nodes := 0; ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it is no whole XML document")
		}
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			n := &node{name: t.Name.Local}
			if nodes++; len(stack) == depthLimit || nodes > nodeLimit {
				return nil, errors.New("it is deeper or larger than an answer can be")
			}
			if len(stack) > 0 {
				top := stack[len(stack)-1]
				top.children = append(top.children, n)
			}
			stack = append(stack, n)
		case xml.CharData:
			if len(stack) > 0 {
				stack[len(stack)-1].content += string(t)
			}
		case xml.EndElement:
			if len(stack) == 1 {
				return stack[0], nil
			}
			stack = stack[:len(stack)-1]
		}
	}
}

func (n *node) at(path ...string) *node {
	for _, name := range path {
		found := n.all(name)
		if len(found) == 0 {
			return nil
		}
		n = found[0]
	}
	return n
}

func (n *node) all(name string) (found []*node) {
	if n == nil {
		return nil
	}
	for _, c := range n.children {
		if c.name == name {
			found = append(found, c)
		}
	}
	return found
}

func (n *node) text(name string) string {
	if c := n.at(name); c != nil {
		return strings.TrimSpace(c.content)
	}
	return ""
}

func (n *node) number(name string) int {
	v, err := strconv.Atoi(n.text(name))
	if err != nil {
		return 0
	}
	return v
}
