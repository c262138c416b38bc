package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"slipway/agent/lab"
	"slipway/lifecycle"
)

// L-47, and L-20: versions, ETags, credentials of each kind, over the lab's S3.
func TestLocalFromS3(t *testing.T) {
	t.Parallel()
	l, err := lab.Start(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(context.Background()) })
	info := l.Info()
	store := s3.New(s3.Options{
		Region: info.Region, Credentials: credentials.NewStaticCredentialsProvider(info.AccessKey, info.SecretKey, ""),
		BaseEndpoint: aws.String(l.Endpoints().S3), UsePathStyle: true,
	})
	if _, err := store.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket: aws.String(labBucket), VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	}); err != nil {
		t.Fatal(err)
	}
	put := func(key string, data []byte) *s3.PutObjectOutput {
		t.Helper()
		out, err := store.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(labBucket), Key: aws.String(key), Body: bytes.NewReader(data)})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	etag := strings.Trim(aws.ToString(put("apps/b.zip", zipped(sampleBundle())).ETag), `"`)
	version := aws.ToString(put("apps/old.zip", zipped(sampleBundle())).VersionId)
	put("apps/old.zip", []byte("something else"))
	const object = "s3://" + labBucket + "/apps/b.zip"
	keys := []string{"AWS_ACCESS_KEY_ID=" + info.AccessKey, "AWS_SECRET_ACCESS_KEY=" + info.SecretKey, "AWS_REGION=" + info.Region}
	endpoint := "AWS_ENDPOINT_URL_S3=" + l.Endpoints().S3
	for _, c := range []struct {
		name, location string
		env            []string
		file, content  string // of credentials
		code           int
		says           string
	}{
		{name: "L-47 environment", location: object, env: append(slices.Clone(keys), endpoint)},
		{name: "L-20 ETag", location: object + "?etag=" + etag, env: append(slices.Clone(keys), endpoint)},
		{name: "another ETag", location: object + "?etag=0123", env: append(slices.Clone(keys), endpoint), code: 1, says: "the ETag is no longer"},
		{name: "L-20 version", location: "s3://" + labBucket + "/apps/old.zip?versionId=" + version, env: append(slices.Clone(keys), endpoint)},
		{name: "another version", location: object + "?versionId=3sL4kqtJlcpXro", env: append(slices.Clone(keys), endpoint), code: 1, says: "3sL4kqtJlcpXro"},
		{name: "no such key", location: object + ".old", env: append(slices.Clone(keys), endpoint), code: 1, says: "apps/b.zip.old"},
		{
			name: "shared file", location: object, env: []string{endpoint, "AWS_PROFILE=lab", "AWS_REGION=" + info.Region},
			file: ".aws/credentials", content: "[lab]\naws_access_key_id=" + info.AccessKey + "\naws_secret_access_key=" + info.SecretKey + "\n",
		},
		{
			name: "on-premises file", location: object, env: []string{"AWS_ENDPOINT_URL=" + l.Endpoints().S3}, file: "none",
			content: "region: " + info.Region + "\niam_user_arn: arn:aws:iam::123456789012:user/h\naws_access_key_id: " + info.AccessKey + "\naws_secret_access_key: " + info.SecretKey + "\n",
		},
		{name: "no credentials", location: object, env: []string{endpoint}, code: 1, says: "ERROR: there are no credentials for S3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			d.env = c.env
			if c.file != "" {
				d.write(c.file, c.content)
			}
			code, stdout, stderr := d.deploy("-l", c.location, "-t", "zip", "-A", "appspec.yml")
			if code != c.code || !strings.Contains(stdout+stderr, c.says) {
				t.Fatalf("exit %d, want %d\nstdout:\n%s\nstderr:\n%s", code, c.code, stdout, stderr)
			}
			if code == 0 {
				d.holds(1, 6)
				d.proves(firstRun()...)
				if past, err := lifecycle.History(d.path("deployment-root")); err != nil || len(past) != 1 || !strings.HasPrefix(past[0].Revision, "s3://"+labBucket+"/apps/") || !past[0].Local {
					t.Errorf("history %+v, %v", past, err)
				}
			}
		})
	}
}

// L-21, L-22, V-91, V-117: bundles of GitHub, over a proxy whose other end has the certificate of api.github.com.
func TestLocalFromGitHub(t *testing.T) {
	t.Parallel()
	zip := zipped(func() map[string]string {
		inside := map[string]string{}
		for name, content := range sampleBundle() {
			inside["octo-app-0123abc/"+name] = content
		}
		return inside
	}())
	var mu sync.Mutex
	var asked []string
	api, authority := secureServer(t, "api.github.com", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.URL.Path+" "+r.Header.Get("Authorization"))
		if strings.HasSuffix(r.URL.Path, "/none") {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(zip))
	})
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != "api.github.com:443" {
			http.Error(w, "nobody else", http.StatusForbidden)
			return
		}
		to, err := net.Dial("tcp", api)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer to.Close()
		from, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer from.Close()
		io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
		go io.Copy(to, from)
		io.Copy(from, to)
	}))
	t.Cleanup(proxy.Close)
	for _, c := range []struct {
		location, token, asked string
		code                   int
	}{
		{"https://github.com/octo/app", "", "/repos/octo/app/zipball/HEAD ", 0},
		{"https://github.com/octo/app/tree/0123abc", "", "/repos/octo/app/zipball/0123abc ", 0},
		{"https://api.github.com/repos/octo/app/zipball/0123abc", "tok", "/repos/octo/app/zipball/0123abc token tok", 0},
		{"https://github.com/octo/app/commit/none", "", "/repos/octo/app/zipball/none ", 1},
	} {
		d := newDesk(t)
		d.env = []string{"https_proxy=" + proxy.URL, "AWS_CA_BUNDLE=" + d.write("ca.pem", authority), gitHubTokenVariable + "=" + c.token}
		code, stdout, stderr := d.deploy("-l", c.location, "-A", "appspec.yml")
		mu.Lock()
		got := strings.Join(slices.Compact(asked), "\n") // what fails before its turn is tried again then
		asked = nil
		mu.Unlock()
		if code != c.code || got != c.asked {
			t.Errorf("%s: exit %d, asked for %q, want %q\n%s%s", c.location, code, got, c.asked, stdout, stderr)
		}
		if code == 0 {
			d.holds(1, 6)
			d.proves(firstRun()...)
		}
	}
}

// secureServer serves TLS as a host whose certificate signs itself.
func secureServer(t *testing.T, name string, handler http.HandlerFunc) (address, authority string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
