package identity

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxFileSize is far above any registration or credentials file.
const maxFileSize = 1 << 20

// FileError says what is wrong with the on-premises file or the credentials file that it names. Somebody has to
// mend the file; until then trying again gives the same answer.
type FileError struct {
	Path    string
	Line    int // 0 where the problem is not in one line
	Message string
	Err     error
}

func (e *FileError) Error() string {
	place := e.Path
	if e.Line > 0 {
		place = fmt.Sprintf("%s:%d", e.Path, e.Line)
	}
	if e.Err != nil {
		return place + ": " + e.Message + ": " + e.Err.Error()
	}
	return place + ": " + e.Message
}

// Unwrap gives the cause, if there is one.
func (e *FileError) Unwrap() error { return e.Err }

// registration is the content of an on-premises file. The zero value is a file without effect (P-81).
type registration struct {
	userARN, sessionARN string
	region              string
	accessKey, secret   string
	credentialsFile     string
	worldReadable       bool
}

func (r registration) arn() string {
	if r.userARN != "" {
		return r.userARN
	}
	return r.sessionARN
}

// readRegistration reads the on-premises file. One that is missing or may not be read is nil and its reason, which
// is fine (P-78); one that can be read must be right, which is a *FileError otherwise.
func readRegistration(path string) (r *registration, absent, err error) {
	data, info, err := readSmall(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("does not exist"), nil
	case errors.Is(err, fs.ErrPermission):
		return nil, errors.New("may not be read"), nil
	case err != nil:
		return nil, nil, &FileError{Path: path, Message: "cannot be read", Err: err}
	}
	reg, err := parseRegistration(path, data)
	if err != nil {
		return nil, nil, err
	}
	reg.worldReadable = info.Mode().Perm()&0o004 != 0
	if reg.credentialsFile != "" && !filepath.IsAbs(reg.credentialsFile) {
		reg.credentialsFile = filepath.Join(filepath.Dir(path), reg.credentialsFile)
	}
	return &reg, nil, nil
}

// parseRegistration reads a YAML map whose keys may be Ruby symbols; unknown keys are ignored and the last of
// several wins (P-78 to P-81).
func parseRegistration(path string, data []byte) (registration, error) {
	var r registration
	values, err := parseMap(path, data)
	if err != nil {
		return r, err
	}
	r = registration{
		userARN: values["iam_user_arn"], sessionARN: values["iam_session_arn"], region: values["region"],
		accessKey: values["aws_access_key_id"], secret: values["aws_secret_access_key"], credentialsFile: values["aws_credentials_file"],
	}
	switch {
	case r.userARN != "" && r.sessionARN != "":
		return r, &FileError{Path: path, Message: "holds both iam_user_arn and iam_session_arn; keep one"}
	case r.userARN != "":
		err = missing(path, values, "iam_user_arn", "region", "aws_access_key_id", "aws_secret_access_key")
	case r.sessionARN != "":
		err = missing(path, values, "iam_session_arn", "region", "aws_credentials_file")
	}
	return r, err
}

func missing(path string, values map[string]string, with string, names ...string) error {
	var absent []string
	for _, n := range names {
		if values[n] == "" {
			absent = append(absent, n)
		}
	}
	if len(absent) == 0 {
		return nil
	}
	return &FileError{Path: path, Message: with + " needs " + strings.Join(absent, " and ") + " beside it"}
}

// parseMap reads the scalars of a YAML map. No message quotes a value: it may be a secret.
func parseMap(path string, data []byte) (map[string]string, error) {
	var doc yaml.Node
	loader, err := yaml.NewLoader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	if err == nil {
		err = loader.Load(&doc)
	}
	if errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		return nil, &FileError{Path: path, Message: "is empty; it must hold keys and values"}
	}
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		return nil, &FileError{Path: path, Line: e.Mark.Line, Message: "is not YAML", Err: errors.New(e.Message)}
	}
	if err != nil {
		return nil, &FileError{Path: path, Message: "is not YAML"}
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, &FileError{Path: path, Line: root.Line, Message: "must hold keys and values, as in region: us-east-1"}
	}
	values := make(map[string]string, len(root.Content)/2)
	for i := 0; i+1 < len(root.Content); i += 2 {
		name, value := root.Content[i], root.Content[i+1]
		if value.Kind == yaml.AliasNode && value.Alias != nil {
			value = value.Alias
		}
		key := strings.TrimPrefix(name.Value, ":")
		switch {
		case name.Kind != yaml.ScalarNode:
		case value.Kind != yaml.ScalarNode && isRegistrationKey(key):
			return nil, &FileError{Path: path, Line: name.Line, Message: key + " must be a text"}
		case value.Kind != yaml.ScalarNode:
		case value.ShortTag() == "!!null":
			delete(values, key)
		default:
			values[key] = strings.TrimSpace(value.Value)
		}
	}
	return values, nil
}

func isRegistrationKey(key string) bool {
	switch key {
	case "region", "iam_user_arn", "iam_session_arn", "aws_access_key_id", "aws_secret_access_key", "aws_credentials_file":
		return true
	}
	return false
}

// readSmall reads a regular file of at most 1 MiB.
func readSmall(path string) ([]byte, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, errors.New("not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err == nil && len(data) > maxFileSize {
		err = errors.New("larger than 1 MiB")
	}
	return data, info, err
}
