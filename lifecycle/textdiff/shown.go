package textdiff

import (
	"bytes"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"
)

// Secret says what a file looks like by its name whose text nobody should see, such as "a private key of SSH"; "" for all others.
func Secret(name string) string {
	base := strings.ToLower(path.Base(name))
	parent := strings.ToLower(path.Base(path.Dir(name)))
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
	if strings.HasPrefix(name, "/etc/shadow") || strings.HasPrefix(name, "/etc/gshadow") {
		return "a file of passwords"
	}
	if vendored(name) {
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

// Plain reports whether the content of a file is text that may be shown: whole UTF-8 without a private key in it.
func Plain(data []byte) bool {
	return bytes.IndexByte(data, 0) < 0 && utf8.Valid(data) && !bytes.Contains(data, []byte("PRIVATE KEY-----"))
}

// Name makes the name of a file fit for a line: what does not print is shown as a Go string has it.
func Name(text string) string {
	if utf8.ValidString(text) && strings.IndexFunc(text, unprintable) < 0 {
		return text
	}
	quoted := fmt.Sprintf("%+q", text)
	return quoted[1 : len(quoted)-1]
}

func unprintable(r rune) bool {
	return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}
