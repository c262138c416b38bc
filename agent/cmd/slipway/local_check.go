package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"slipway/lifecycle"
	"slipway/lifecycle/bundle"
)

// localRequest is a local deployment after its options were checked.
type localRequest struct {
	*localOptions
	ours     bool // of slipway local, not of codedeploy-local
	location string
	kind     bundle.Format
	scheme   string // of the location: s3, https, or "" for a path
	events   []lifecycle.Event
	notes    []string // what a person should know
}

// invalidError is what a person has to write differently: the official tool prints it on standard output (section 4 of L).
type invalidError struct{ text string }

func (e *invalidError) Error() string { return e.text }

func invalid(format string, args ...any) error { return &invalidError{fmt.Sprintf(format, args...)} }

var localTypes = []bundle.Format{bundle.Directory, bundle.Zip, bundle.Tar, bundle.Tgz}

// check holds the options to each other and to what is there, in the order of L-19. Nothing is touched.
func (o *localOptions) check(ours bool) (*localRequest, error) {
	location, given := o.location()
	if !given {
		var err error
		if location, err = os.Getwd(); err != nil {
			return nil, err
		}
	}
	r := &localRequest{localOptions: o, ours: ours, location: location}
	r.kind = bundle.Format(o.value(optType, string(bundle.Directory)))
	if ours && !o.given(optType) {
		r.kind = guessType(r.location)
	}
	if !slices.Contains(localTypes, r.kind) { // L-19a
		return nil, invalid("the type %q is none of directory, zip, tar, tgz (--type)", string(r.kind))
	}
	if err := r.checkLocation(given); err != nil {
		return nil, err
	}
	if err := r.checkBehavior(); err != nil {
		return nil, err
	}
	var err error
	var order *lifecycle.EventOrderError
	if r.events, err = lifecycle.LocalEvents(o.events()); errors.As(err, &order) { // L-19g
		return nil, invalid("%v (--events)", err)
	}
	return r, err
}

// guessType is the type of a location for which none was given: what a file is, and what the end of an address says.
func guessType(location string) bundle.Format {
	if u, err := url.Parse(location); err == nil && u.Scheme != "" {
		for _, end := range []struct {
			suffix string
			format bundle.Format
		}{{".tar.gz", bundle.Tgz}, {".tgz", bundle.Tgz}, {".tar", bundle.Tar}, {".zip", bundle.Zip}} {
			if strings.HasSuffix(strings.ToLower(u.Path), end.suffix) {
				return end.format
			}
		}
		return bundle.Directory
	}
	if info, err := os.Stat(location); err != nil || !info.Mode().IsRegular() {
		return bundle.Directory
	}
	format, _, err := bundle.FormatOf(location)
	if err != nil {
		return bundle.Directory
	}
	return cmp.Or(format, bundle.Directory)
}

// checkLocation is L-19b to L-19f. The current directory, which nobody has typed, may have any name.
func (r *localRequest) checkLocation(given bool) error {
	info, statErr := os.Stat(r.location)
	isFile, isDir := statErr == nil && info.Mode().IsRegular(), statErr == nil && info.IsDir()
	scheme, problem := uriScheme(r.location)
	if problem != "" && (!r.ours && given || statErr != nil) { // L-19b
		return invalid("%q is neither a path nor an address: it has %s; rename it or go there, and leave --%s out", r.location, problem, optLocation)
	}
	switch {
	case scheme == "http": // L-19c
		return invalid("%s would come unprotected: only https and s3 are fetched from", r.location)
	case scheme != "https" && scheme != "s3" && statErr != nil: // L-19d
		return invalid("%s", r.missing(scheme))
	case r.kind == bundle.Directory && isFile: // L-19e
		return invalid("%s is a file and the type is directory: %s", r.location, r.isWhat())
	case r.kind != bundle.Directory && isDir:
		return invalid("%s is a directory and the type is %s: leave --type out", r.location, r.kind)
	case isDir: // L-19f
		return r.checkAppSpec()
	}
	if scheme == "s3" || scheme == "https" {
		r.scheme = scheme
	} else if format, _, err := bundle.FormatOf(r.location); err == nil && format != "" && !packs(r.kind, format) {
		r.notes = append(r.notes, fmt.Sprintf("%s is not a %s: %s", r.location, r.kind, r.isWhat()))
	}
	return nil
}

// packs reports whether a bundle of the format can be unpacked as the type: tar takes compressed ones too (I-18).
func packs(kind, format bundle.Format) bool {
	return kind == format || kind == bundle.Tar && format == bundle.Tgz
}

func (r *localRequest) isWhat() string {
	format, text, err := bundle.FormatOf(r.location)
	switch {
	case err != nil:
		return "it cannot be read: " + err.Error()
	case format == "":
		return "it is " + text + ", which is no bundle"
	}
	return fmt.Sprintf("it is %s, say --type %s", text, format)
}

func (r *localRequest) missing(scheme string) string {
	switch {
	case r.location == "":
		return "the location is empty: leave --" + optLocation + " out for the current directory"
	case scheme == "file":
		return fmt.Sprintf("%s: write the path alone, without file://", r.location)
	case scheme != "" && strings.Contains(r.location, "://"):
		return fmt.Sprintf("%s: %s is not fetched from; a location is a path, s3://BUCKET/KEY, or an address of GitHub", r.location, scheme)
	}
	_, err := os.Stat(r.location)
	if e, ok := errors.AsType[*os.PathError](err); ok {
		err = e.Err
	}
	return fmt.Sprintf("%s: %v", r.location, err)
}

func (r *localRequest) checkAppSpec() error {
	names := []string{"appspec.yml", "appspec.yaml"}
	if name := r.appspec(); name != "" {
		names = []string{name}
	}
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(r.location, name)); err == nil {
			return nil
		}
	}
	text := fmt.Sprintf("%s has no %s", r.location, strings.Join(names, " and no "))
	entries, _ := os.ReadDir(r.location)
	for _, e := range entries {
		if strings.Contains(strings.ToLower(e.Name()), "appspec") && !slices.Contains(names, e.Name()) {
			return invalid("%s, but %s: name it with --%s", text, e.Name(), optAppSpec)
		}
	}
	return invalid("%s: is it the directory of the bundle?", text)
}

var behaviors = []string{"", "DISALLOW", "OVERWRITE", "RETAIN"}

// checkBehavior: the official tool takes any text here, and a file that is in the way then fails the deployment, as DISALLOW does (L-3).
func (r *localRequest) checkBehavior() error {
	given := r.values[optBehavior]
	if slices.Contains(behaviors, strings.ToUpper(given)) {
		return nil
	}
	if r.ours {
		return invalid("the behavior %q is none of DISALLOW, OVERWRITE, RETAIN (--%s)", given, optBehavior)
	}
	r.notes = append(r.notes, fmt.Sprintf("the behavior %q is none of DISALLOW, OVERWRITE, RETAIN: DISALLOW counts", given))
	r.values[optBehavior] = ""
	return nil
}

// revision is what the location names (L-20 to L-23).
func (r *localRequest) revision(gitHubToken string) (bundle.Revision, error) {
	var rev bundle.Revision
	var err error
	switch r.scheme {
	case "s3":
		if rev, err = bundle.ParseS3URL(r.location, r.kind); err != nil {
			return rev, invalid("%v", err)
		}
		if r.kind == bundle.Directory { // L-19i
			return rev, fmt.Errorf("%s is an archive: say with --type which one, zip, tar or tgz", r.location)
		}
	case "https":
		if rev, err = bundle.ParseGitHubURL(r.location, r.kind); err != nil {
			return rev, invalid("%v", err)
		}
		rev.GitHub.Token = gitHubToken
	default:
		path, err := filepath.Abs(r.location)
		if err != nil {
			return rev, err
		}
		rev.Type, rev.Local = bundle.LocalFile, bundle.LocalLocation{Path: path, Format: r.kind}
		if r.kind == bundle.Directory {
			rev.Type = bundle.LocalDirectory
		}
	}
	return rev, nil
}

// uriScheme is the scheme of a location in lower case, "" for a path; problem says what no address and, for the official tool, no path may
// have in it (L-19b).
func uriScheme(text string) (scheme, problem string) {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == ' ':
			return "", "a blank"
		case c >= 0x80:
			return "", "a character that is not ASCII"
		case c < ' ' || c == 0x7f:
			return "", "a control character"
		case strings.IndexByte("\"<>\\^`{|}[]", c) >= 0:
			return "", fmt.Sprintf("the character %c", c)
		case c == '%' && (i+2 >= len(text) || !isHex(text[i+1]) || !isHex(text[i+2])):
			return "", "a % without two hexadecimal digits behind it"
		}
	}
	before, _, ok := strings.Cut(text, ":")
	if !ok || strings.ContainsAny(before, "/?#") {
		return "", ""
	}
	if before == "" || !isLetter(before[0]) || strings.ContainsFunc(before, func(c rune) bool {
		return !isLetter(byte(c)) && (c < '0' || c > '9') && c != '+' && c != '-' && c != '.'
	}) {
		return "", "a colon before the first slash"
	}
	return strings.ToLower(before), ""
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
