package lab

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// Whatever comes as an aws-chunked body is read to its end or refused, and what is well-formed comes out as it went in.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("5;chunk-signature=abc\r\nhello\r\n0;chunk-signature=def\r\n\r\n"))
	f.Add([]byte("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"))
	f.Add([]byte("ffffffffffffffff\r\n"))
	f.Add([]byte("-5\r\nhello"))
	f.Add([]byte("5\r\nhel"))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := io.ReadAll(newChunkReader(io.NopCloser(bytes.NewReader(data)), http.Header{}))
		if len(out) > len(data) {
			t.Errorf("%d bytes out of %d", len(out), len(data))
		}
		if err != nil && !errors.Is(err, errChunk) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("error %v", err)
		}
		framed := append([]byte(strconv.FormatInt(int64(len(data)), 16)+"\r\n"), data...)
		if len(data) > 0 {
			framed = append(framed, "\r\n0\r\n"...)
		}
		trailers := http.Header{}
		framed = append(framed, "x-amz-checksum-crc32: abc\r\n\r\n"...)
		back, err := io.ReadAll(newChunkReader(io.NopCloser(bytes.NewReader(framed)), trailers))
		if err != nil || !bytes.Equal(back, data) || trailers.Get("X-Amz-Checksum-Crc32") != "abc" {
			t.Errorf("round trip of %q: %q, %v, %v", data, back, trailers, err)
		}
	})
}

// No header or query makes the verification panic, and nothing unsigned gets through.
func FuzzSignature(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=AKID/20150830/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=abc", "20150830T123600Z", "a=b")
	f.Add("", "20150830T123600Z", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID/20150830/us-east-1/s3/aws4_request&X-Amz-SignedHeaders=host&X-Amz-Signature=1&X-Amz-Expires=9999999999")
	f.Fuzz(func(t *testing.T, auth, date, query string) {
		r := httptest.NewRequest(http.MethodGet, "/k", nil)
		r.URL.RawQuery = query
		r.Header.Set("Authorization", auth)
		r.Header.Set("X-Amz-Date", date)
		k := &keyring{secrets: map[string]string{"AKID": "secret"}, tokens: map[string]string{}}
		if access, err := k.check(r, nil); err == nil {
			t.Errorf("%q was let in as %s", auth, access)
		}
	})
}

// The example of the documentation of SigV4 (GET of a bucket's object) and of what its secret makes of it.
func TestSignatureVector(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "https://examplebucket.s3.amazonaws.com/test.txt", nil)
	r.Header.Set("Range", "bytes=0-9")
	empty := "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	r.Header.Set("X-Amz-Content-Sha256", empty)
	r.Header.Set("X-Amz-Date", "20130524T000000Z")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
	s, err := parseSignature(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.sign("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", canonical(r, s, empty)); got != s.value {
		t.Errorf("signature %s, want %s", got, s.value)
	}
	r.Header.Set("Range", "bytes=0-8")
	if got := s.sign("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", canonical(r, s, empty)); got == s.value {
		t.Error("a changed header does not change the signature")
	}
	if !strings.Contains(canonical(r, s, empty), "\nrange:bytes=0-8\n") {
		t.Error("the header is not in the canonical request")
	}
}

// AtOnce: how many hosts may be out of service together.
func TestAtOnce(t *testing.T) {
	custom := func(kind string, value int) *deploymentConfigInfo {
		return &deploymentConfigInfo{DeploymentConfigName: "custom", MinimumHealthyHosts: &minimumHealthyHosts{Type: kind, Value: value}}
	}
	for _, tc := range []struct {
		config  *deploymentConfigInfo
		n, want int
	}{
		{&deploymentConfigInfo{DeploymentConfigName: configAllAtOnce}, 9, 9},
		{&deploymentConfigInfo{DeploymentConfigName: configHalfAtATime}, 9, 4},
		{&deploymentConfigInfo{DeploymentConfigName: configHalfAtATime}, 1, 1},
		{&deploymentConfigInfo{DeploymentConfigName: configHalfAtATime}, 0, 0},
		{&deploymentConfigInfo{DeploymentConfigName: configOneAtATime}, 9, 1},
		{custom("HOST_COUNT", 7), 9, 2},
		{custom("HOST_COUNT", 9), 9, 0},
		{custom("HOST_COUNT", 20), 9, 0},
		{custom("FLEET_PERCENT", 50), 9, 4},
		{custom("FLEET_PERCENT", 95), 9, 0},
		{custom("FLEET_PERCENT", 0), 9, 9},
	} {
		if got := atOnce(tc.config, tc.n); got != tc.want {
			t.Errorf("%s %+v of %d: %d, want %d", tc.config.DeploymentConfigName, tc.config.MinimumHealthyHosts, tc.n, got, tc.want)
		}
	}
}

// Every plan: an event occurs once per fleet, the service's events are bracketed by hooks, and a rollback is the mirror of the move.
func TestPlans(t *testing.T) {
	for name, plan := range plans {
		for _, fleet := range []string{blue, green} {
			seen := map[string]bool{}
			events := eventsOf(plan, fleet)
			for i, e := range events {
				if seen[e] {
					t.Errorf("%s: %s occurs twice for %s", name, e, fleet)
				}
				seen[e] = true
				if byService[e] && (i == 0 || i == len(events)-1 || events[i-1] != "Before"+e || events[i+1] != "After"+e) {
					t.Errorf("%s: %s stands between no hooks: %v", name, e, events)
				}
			}
		}
	}
	for _, tc := range []struct {
		style    style
		creator  string
		rerouted bool
		want     string
	}{
		{style{typeInPlace, withoutTraffic}, creatorUser, false, "in-place"},
		{style{typeInPlace, withTraffic}, creatorUser, false, "in-place-traffic"},
		{style{typeInPlace, withoutTraffic}, creatorRollback, false, "in-place"},
		{style{typeBlueGreen, withTraffic}, creatorUser, false, "blue-green"},
		{style{typeBlueGreen, withoutTraffic}, creatorUser, false, "blue-green-offline"},
		{style{typeBlueGreen, withTraffic}, creatorRollback, true, "blue-green-rollback"},
	} {
		if got := planOf(&tc.style, tc.creator, tc.rerouted); &got[0] != &plans[tc.want][0] {
			t.Errorf("%+v by %s: not %s", tc.style, tc.creator, tc.want)
		}
	}
}
