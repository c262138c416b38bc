package lab

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	roleName   = "slipway-lab-instance"
	roleLife   = 6 * time.Hour
	tokenTTL   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	tokenName  = "X-Aws-Ec2-Metadata-Token"
	maxTTL     = 21600
	metaPrefix = "/latest/meta-data/"
)

// metadata is the instance metadata service of one instance, version 2: every read needs a session token.
type metadata struct {
	service *service
	host    *host

	mu     sync.Mutex // guards tokens
	tokens map[string]time.Time
}

func (m *metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "EC2ws")
	if r.URL.Path == "/latest/api/token" {
		m.token(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if !m.valid(r.Header.Get(tokenName)) {
		http.Error(w, "401 - Unauthorized", http.StatusUnauthorized)
		return
	}
	text, ok := m.read(r.URL.Path)
	if !ok {
		http.Error(w, "404 - Not Found", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	io.WriteString(w, text)
}

// token hands out a session token.
func (m *metadata) token(w http.ResponseWriter, r *http.Request) {
	ttl, err := strconv.Atoi(r.Header.Get(tokenTTL))
	switch {
	case r.Method != http.MethodPut:
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case r.Header.Get("X-Forwarded-For") != "":
		http.Error(w, "403 - Forbidden", http.StatusForbidden)
	case err != nil || ttl < 1 || ttl > maxTTL:
		http.Error(w, "400 - Bad Request", http.StatusBadRequest)
	default:
		m.service.seen(m.host.ID, "")
		token := rand.Text() + rand.Text()
		m.mu.Lock()
		m.tokens[token] = time.Now().Add(time.Duration(ttl) * time.Second)
		m.mu.Unlock()
		w.Header().Set(tokenTTL, strconv.Itoa(ttl))
		io.WriteString(w, token)
	}
}

func (m *metadata) valid(token string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	until, ok := m.tokens[token]
	if ok && time.Now().After(until) {
		delete(m.tokens, token)
		return false
	}
	return ok
}

// read is one metadata value, or the listing of a folder.
func (m *metadata) read(path string) (string, bool) {
	values := m.values()
	if v, ok := values[strings.TrimSuffix(path, "/")]; ok {
		return v, true
	}
	folder := strings.TrimSuffix(path, "/") + "/"
	var names []string
	for name := range values {
		if rest, ok := strings.CutPrefix(name, folder); ok {
			first, _, deeper := strings.Cut(rest, "/")
			if deeper {
				first += "/"
			}
			names = append(names, first)
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), "\n"), len(names) > 0
}

// values is everything that the service tells of the instance.
func (m *metadata) values() map[string]string {
	s := m.service
	s.mu.Lock()
	h := m.host.copy()
	s.mu.Unlock()
	n := h.Name
	address := "10.0." + strconv.Itoa(int(n[len(n)-1])) + "." + strconv.Itoa(int(n[2]))
	region := s.region
	values := map[string]string{
		"instance-id": n, "ami-id": "ami-0123456789abcdef0", "instance-type": "t3.micro", "hostname": "ip-" + strings.ReplaceAll(address, ".", "-") + ".ec2.internal",
		"local-ipv4": address, "local-hostname": "ip-" + strings.ReplaceAll(address, ".", "-") + ".ec2.internal",
		"placement/region": region, "placement/availability-zone": region + "a", "services/partition": partition(region), "services/domain": domain(region),
		"iam/info": m.document(map[string]string{"Code": "Success", "LastUpdated": now(0), "InstanceProfileArn": fmt.Sprintf("arn:%s:iam::%s:instance-profile/%s", partition(region), s.account, roleName), "InstanceProfileId": "AIPASLIPWAYLAB0000001"}),
		"iam/security-credentials/" + roleName: m.document(map[string]string{
			"Code": "Success", "LastUpdated": now(0), "Type": "AWS-HMAC", "AccessKeyId": m.host.keys.access, "SecretAccessKey": m.host.keys.secret, "Token": m.host.keys.token, "Expiration": now(roleLife),
		}),
	}
	for _, key := range slices.Sorted(maps.Keys(h.Tags)) {
		values["tags/instance/"+key] = h.Tags[key]
	}
	switch {
	case h.LifecycleState != "":
		values["autoscaling/target-lifecycle-state"] = h.LifecycleState
	case h.AutoScalingGroup != "":
		values["autoscaling/target-lifecycle-state"] = "InService"
	}
	all := map[string]string{"/latest/dynamic/instance-identity/document": m.document(map[string]any{
		"accountId": s.account, "architecture": "x86_64", "availabilityZone": region + "a", "imageId": "ami-0123456789abcdef0", "instanceId": n,
		"instanceType": "t3.micro", "pendingTime": "2024-01-01T00:00:00Z", "privateIp": address, "region": region, "version": "2017-09-30",
	})}
	for name, v := range values {
		all[metaPrefix+name] = v
	}
	return all
}

// document is v as the service writes JSON.
func (m *metadata) document(v any) string {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return "{}"
	}
	return string(data)
}

// now is the time in d, as the service writes it.
func now(d time.Duration) string { return time.Now().UTC().Add(d).Format("2006-01-02T15:04:05Z") }
