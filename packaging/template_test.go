package packaging

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// template is the text of the image's template and its variables.
func template(t *testing.T) (image, variables string) {
	t.Helper()
	for name, into := range map[string]*string{"slipway.pkr.hcl": &image, "variables.pkr.hcl": &variables} {
		data, err := os.ReadFile(filepath.Join("packer", name))
		if err != nil {
			t.Fatal(err)
		}
		*into = string(data)
	}
	return image, variables
}

// block cuts a block with its braces out of a template, from the line that begins with its header to the brace at the beginning of a line.
func block(t *testing.T, text, header string) string {
	t.Helper()
	_, rest, ok := strings.Cut("\n"+text, "\n"+header+" {\n")
	body, _, ended := strings.Cut(rest, "\n}\n")
	if !ok || !ended {
		t.Fatalf("the template has no block %q", header)
	}
	return header + " {\n" + body + "\n}\n"
}

var (
	sourcesLine = regexp.MustCompile(`(?m)^  sources = \[.*\]$`)
	scriptNames = regexp.MustCompile(`\$\{path\.root\}/scripts/([a-z-]+\.sh)`)
	usedNames   = regexp.MustCompile(`\bvar\.([a-z_]+)`)
)

// nullTemplate is the template's own build block, word for word, with a host that is there already for its source: the same files, scripts,
// environment and order. A Packer without plugins builds it, of 1.6 too. The packages are debs.
func nullTemplate(t *testing.T, version string) string {
	t.Helper()
	image, _ := template(t)
	build := block(t, image, "build")
	if n := len(sourcesLine.FindAllString(build, -1)); n != 1 {
		t.Fatalf("the build block has %d lines of sources, want 1:\n%s", n, build)
	}
	var b strings.Builder
	names := []string{"ssh_host", "ssh_user", "ssh_key"}
	for _, m := range usedNames.FindAllStringSubmatch(build, -1) {
		names = append(names, m[1])
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		fmt.Fprintf(&b, "variable %q {\n  type    = string\n  default = \"\"\n}\n\n", name)
	}
	fmt.Fprintf(&b, "locals {\n  packages = {\n    amd64 = \"slipway_%s-1_amd64.deb\"\n  }\n}\n\n", version)
	b.WriteString(`source "null" "host" {
  communicator         = "ssh"
  ssh_host             = var.ssh_host
  ssh_username         = var.ssh_user
  ssh_private_key_file = var.ssh_key
}

`)
	b.WriteString(sourcesLine.ReplaceAllString(build, `  sources = ["source.null.host"]`))
	return b.String()
}

// The template goes about it in this order; every script that lies there is used, every variable that is used is declared with its meaning,
// and every declared one is used. It has no place for credentials.
func TestTemplate(t *testing.T) {
	image, variables := template(t)
	var order []string
	for _, m := range scriptNames.FindAllStringSubmatch(block(t, image, "build"), -1) {
		order = append(order, m[1])
	}
	if diff := cmp.Diff([]string{"hold.sh", "wait.sh", "install.sh", "provision.sh", "deploy.sh", "seal.sh"}, order); diff != "" {
		t.Errorf("order of the scripts (-want +got):\n%s", diff)
	}
	files, err := filepath.Glob("packer/scripts/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if !slices.Contains(order, filepath.Base(name)) {
			t.Errorf("%s is never run", name)
		}
	}
	used, declared := map[string]bool{}, map[string]bool{}
	for _, m := range usedNames.FindAllStringSubmatch(image, -1) {
		used[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`(?m)^variable "([a-z_]+)" \{$`).FindAllStringSubmatch(variables, -1) {
		declared[m[1]] = true
		body := block(t, variables, "variable "+strconv.Quote(m[1]))
		if !used[m[1]] {
			t.Errorf("the variable %s is not used", m[1])
		}
		if !strings.Contains(body, "  description = ") || !strings.Contains(body, "  type        = ") {
			t.Errorf("the variable %s has no type or no description", m[1])
		}
		if regexp.MustCompile(`secret|access_key|token|password`).MatchString(m[1]) {
			t.Errorf("the variable %s is a place for credentials: they come from outside", m[1])
		}
	}
	for name := range used {
		if !declared[name] {
			t.Errorf("the variable %s is not declared", name)
		}
	}
	for _, want := range []string{`http_tokens                 = "required"`, "encrypted             = var.encrypted", "run_tags        = local.running"} {
		if !strings.Contains(block(t, image, `source "amazon-ebs" "image"`), want) {
			t.Errorf("the source has no %q", want)
		}
	}
}

// write makes a file with the folders above it.
func write(path, text string, mode fs.FileMode) error {
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode))
}
