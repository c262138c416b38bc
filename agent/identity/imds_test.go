package identity

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeIMDS is a small instance metadata service: paths below /latest, tokens, and the ways in which it can fail.
type fakeIMDS struct {
	values   map[string]string // by path below /latest
	noToken  int               // status of the token request; 0: tokens are given
	needs    bool              // a token is needed
	slow     time.Duration     // before each answer
	failures int               // answers with 503 before the first good one

	mu     sync.Mutex
	tokens int      // given out so far; only the last is valid
	expire bool     // the next read finds its token expired
	calls  []string // "GET /latest/…", in order
}

func (f *fakeIMDS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, r.Method+" "+r.URL.Path)
	time.Sleep(f.slow)
	if f.failures > 0 {
		f.failures--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if r.URL.Path == "/latest/api/token" {
		switch {
		case f.noToken != 0:
			w.WriteHeader(f.noToken)
		case r.Method != http.MethodPut || r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") == "":
			w.WriteHeader(http.StatusBadRequest)
		default:
			f.tokens++
			w.Header().Set("X-aws-ec2-metadata-token-ttl-seconds", r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds"))
			w.Write([]byte("token-" + strconv.Itoa(f.tokens)))
		}
		return
	}
	token := r.Header.Get("X-aws-ec2-metadata-token")
	expired := f.expire && strings.HasPrefix(r.URL.Path, "/latest/meta-data/autoscaling")
	if f.needs && token != "token-"+strconv.Itoa(f.tokens) || expired {
		f.expire = false
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	value, ok := f.values[strings.TrimPrefix(r.URL.Path, "/latest/")]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Write([]byte(value))
}

func (f *fakeIMDS) called() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.calls, "\n")
}

// instanceValues are what an instance in a region is told.
func instanceValues(region, partition, domain string) map[string]string {
	return map[string]string{
		"dynamic/instance-identity/document":           `{"region":"` + region + `","accountId":"111122223333","instanceId":"i-0123456789abcdef0"}`,
		"meta-data/services/partition":                 partition + "\n", // P-71: values are trimmed
		"meta-data/services/domain":                    " " + domain + "\n",
		"meta-data/autoscaling/target-lifecycle-state": "InService",
		"meta-data/iam/security-credentials/":          "web-role",
		"meta-data/iam/security-credentials/web-role": `{"Code":"Success","AccessKeyId":"ASIAROLE","SecretAccessKey":"rolesecret","Token":"roletoken","Expiration":"` +
			time.Now().Add(6*time.Hour).UTC().Format(time.RFC3339) + `"}`,
	}
}

func serve(t *testing.T, f *fakeIMDS) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
}

// closedPort is an address that refuses connections.
func closedPort(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	return s.URL
}

func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}
