package lint

import (
	"path"
	"strings"
)

// secret says what a file looks like that nobody should find in a bundle, "" for all others. It goes by names: most content is none
// of our business.
func secret(e entry) string {
	base := strings.ToLower(path.Base(e.name))
	parent := strings.ToLower(path.Base(path.Dir(e.name)))
	if e.typ.IsDir() {
		return ""
	}
	switch base {
	case "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519":
		return "a private key of SSH"
	case ".env", ".env.local", ".env.production", ".env.prod", ".env.staging":
		return "a file of secret settings"
	case ".netrc", "_netrc", ".pgpass", ".my.cnf", ".git-credentials", ".npmrc", ".pypirc", ".htpasswd", ".dockercfg":
		return "a file of passwords"
	case "credentials":
		if parent == ".aws" {
			return "a file of AWS credentials"
		}
	case "config.json":
		if parent == ".docker" {
			return "a file of passwords"
		}
	}
	if vendored(e.name) {
		return "" // certificates and samples of libraries
	}
	switch path.Ext(base) {
	case ".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".ppk":
		return "a private key or certificate"
	case ".kdbx":
		return "a store of passwords"
	}
	return ""
}

// vendored reports whether a file belongs to a library that was packed with the application.
func vendored(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "node_modules", "vendor", "site-packages", ".git":
			return true
		}
	}
	return false
}
