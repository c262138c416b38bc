package textdiff_test

import (
	"testing"

	"slipway/lifecycle/textdiff"
)

// What is a secret by its name, or by its content, is not shown.
func TestSecret(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"/srv/app/.env": "a file of secret settings", "a/ID_RSA": "a private key of SSH", "/root/.aws/credentials": "a file of AWS credentials", "/srv/credentials": "",
		"/etc/shadow-": "a file of passwords", "/etc/gshadow": "a file of passwords", "etc/shadow": "", "/srv/tls/site.key": "a private key or certificate",
		"/srv/vendor/lib/test.pem": "", "/srv/vendor/.npmrc": "a file of passwords", "/srv/index.php": "", "/srv/x.kdbx": "a store of passwords",
	} {
		if got := textdiff.Secret(name); got != want {
			t.Errorf("Secret(%q) = %q, want %q", name, got, want)
		}
	}
	for text, want := range map[string]bool{
		"": true, "héllo\n": true, "a\x00b": false, "\xff": false, "x\n-----BEGIN OPENSSH PRIVATE KEY-----\n": false, "-----BEGIN CERTIFICATE-----\n": true,
	} {
		if got := textdiff.Plain([]byte(text)); got != want {
			t.Errorf("Plain(%q) = %v, want %v", text, got, want)
		}
	}
	for name, want := range map[string]string{"/a/é": "/a/é", "/a\nb": `/a\nb`, "/a\u202eb": `/a\u202eb`, "/\xff": `/\xff`} {
		if got := textdiff.Name(name); got != want {
			t.Errorf("Name(%q) = %s, want %s", name, got, want)
		}
	}
}
