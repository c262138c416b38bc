package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// localOptions are what a local deployment is asked for with (L-1 to L-10).
type localOptions struct {
	values     map[string]string // of the options that were given, by long name
	positional string            // a BUNDLE without -l, of slipway local alone
}

// Long names of the options.
const (
	optLocation    = "bundle-location"
	optType        = "type"
	optBehavior    = "file-exists-behavior"
	optGroup       = "deployment-group"
	optGroupName   = "deployment-group-name"
	optApplication = "application-name"
	optEvents      = "events"
	optConfig      = "agent-configuration-file"
	optAppSpec     = "appspec-filename"
	optHelp        = "help"
	optVersion     = "version"
	optJSON        = "json" // what follows is of slipway local alone
)

// localOption is a row of the table of options.
type localOption struct {
	short    byte
	long     string
	value    string // what its value is called; "" for none
	fallback string // default
	doc      string
	ours     bool // of slipway local alone
}

// localTable is all there is to say about the options, for reading them and for their help.
var localTable = []localOption{
	{'l', optLocation, "LOCATION", "the current directory", "directory, archive, s3://BUCKET/KEY[?versionId=…&etag=…], or address of GitHub", false},
	{'t', optType, "TYPE", "directory", "what that is: directory, zip, tar or tgz", false},
	{'b', optBehavior, "BEHAVIOR", "DISALLOW", "what becomes of files that are there already: DISALLOW, OVERWRITE or RETAIN", false},
	{'g', optGroup, "ID", defaultLocalGroup, "deployment group: the folder below the deployment root", false},
	{'d', optGroupName, "NAME", defaultGroupName, "DEPLOYMENT_GROUP_NAME of the scripts", false},
	{'a', optApplication, "NAME", "the location", "APPLICATION_NAME of the scripts", false},
	{'e', optEvents, "EVENTS", "all", "lifecycle events to run, with commas and no blanks between; DownloadBundle and Install come first if they are not named", false},
	{'c', optConfig, "FILE", "the agent's", "configuration file, which counts for more than the agent's own", false},
	{'A', optAppSpec, "NAME", "appspec.yml", "name of the appspec in the bundle", false},
	{'h', optHelp, "", "", "print this help", false},
	{'v', optVersion, "", "", "print the version", false},
	{0, optJSON, "", "", "print JSON, at the end", true},
	{0, "config", "FILE", "", "", true}, // the flags of every command, wherever they stand
	{0, "config-file", "FILE", "", "", true},
	{0, "config_file", "FILE", "", "", true},
}

// optionsText is the table of options for a help.
func optionsText(ours bool) string {
	var b strings.Builder
	for _, o := range localTable {
		if o.doc == "" || o.ours && !ours {
			continue
		}
		name := "      --" + o.long
		if o.short != 0 {
			name = fmt.Sprintf("  -%c, --%s", o.short, o.long)
		}
		if o.value != "" {
			name += "=" + o.value
		}
		fmt.Fprintf(&b, "%-40s %s", name, o.doc)
		if o.fallback != "" {
			fmt.Fprintf(&b, " (default: %s)", o.fallback)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// parseLocal reads a command line as the official tool does: long options may be shortened to what only one begins with, a value is behind
// = or the next word, short options may stand together (L-11).
func parseLocal(args []string, ours bool) (*localOptions, error) {
	o := &localOptions{values: map[string]string{}}
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		var err error
		switch {
		case word == "--":
			for _, arg := range args {
				err = errors.Join(err, o.argument(arg, ours))
			}
			args = nil
		case strings.HasPrefix(word, "--"):
			args, err = o.long(word[2:], args, ours)
		case len(word) > 1 && word[0] == '-':
			args, err = o.shorts(word[1:], args)
		default:
			err = o.argument(word, ours)
		}
		if err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (o *localOptions) argument(word string, ours bool) error {
	switch {
	case !ours:
		return fmt.Errorf("there is no argument %q: give the bundle with --%s", word, optLocation)
	case word == "":
		return errors.New("an argument is empty: name a bundle, or leave it out")
	case o.positional != "" || o.given(optLocation):
		return fmt.Errorf("one bundle at a time: %q is a second one", word)
	}
	o.positional = word
	return nil
}

func (o *localOptions) long(text string, rest []string, ours bool) ([]string, error) {
	name, value, has := strings.Cut(text, "=")
	var found []*localOption
	for i := range localTable {
		row := &localTable[i]
		switch {
		case row.ours && !ours, name == "":
		case row.long == name:
			return o.take(row, value, has, rest)
		case strings.HasPrefix(row.long, name) && (row.doc != "" || row.long == "config"):
			found = append(found, row)
		}
	}
	switch len(found) {
	case 1:
		return o.take(found[0], value, has, rest)
	case 0:
		if name == "dry-run" {
			return nil, errors.New("there is no option --dry-run: slipway plan says what a deployment would do")
		}
		return nil, fmt.Errorf("there is no option --%s", name)
	}
	var names []string
	for _, row := range found {
		names = append(names, "--"+row.long)
	}
	return nil, fmt.Errorf("--%s may be each of %s", name, strings.Join(names, ", "))
}

func (o *localOptions) shorts(letters string, rest []string) ([]string, error) {
	for letters != "" {
		i := slices.IndexFunc(localTable, func(row localOption) bool { return row.short == letters[0] })
		if i < 0 || letters[0] == 0 {
			return nil, fmt.Errorf("there is no option -%c", letters[0])
		}
		letters = letters[1:]
		if localTable[i].value != "" {
			return o.take(&localTable[i], letters, letters != "", rest)
		}
		if _, err := o.take(&localTable[i], "", false, rest); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// take notes an option, whose value may be the next word.
func (o *localOptions) take(row *localOption, value string, has bool, rest []string) ([]string, error) {
	switch {
	case row.value == "" && has:
		return nil, fmt.Errorf("--%s takes no value", row.long)
	case row.value != "" && !has && len(rest) == 0:
		return nil, fmt.Errorf("--%s needs a value", row.long)
	case row.value != "" && !has:
		value, rest = rest[0], rest[1:]
	}
	name := row.long
	if strings.HasPrefix(name, "config") {
		if name = optConfig; value == "" {
			return nil, fmt.Errorf("--%s is empty: name a file, or leave the flag out for the default files", row.long)
		}
	}
	if o.given(name) {
		return nil, fmt.Errorf("--%s is given twice", name)
	}
	if name == optLocation && o.positional != "" {
		return nil, fmt.Errorf("one bundle at a time: %q is a second one", value)
	}
	o.values[name] = value
	return rest, nil
}

func (o *localOptions) given(name string) bool {
	_, ok := o.values[name]
	return ok
}

// value is what was given for an option, or its default.
func (o *localOptions) value(name, fallback string) string {
	if v, ok := o.values[name]; ok {
		return v
	}
	return fallback
}

// location is what is deployed, as it was given; "" for the current directory.
func (o *localOptions) location() (text string, given bool) {
	if o.positional != "" {
		return o.positional, true
	}
	text, given = o.values[optLocation]
	return text, given
}

// events is the list that was given; nil for all. What follows the last name that is none counts for nothing (L-7).
func (o *localOptions) events() []string {
	text := o.values[optEvents]
	if text == "" {
		return nil
	}
	list := strings.Split(text, ",")
	for len(list) > 0 && list[len(list)-1] == "" {
		list = list[:len(list)-1]
	}
	return list
}

// appspec is the name that was given; "" for the usual ones.
func (o *localOptions) appspec() string { return cmp.Or(o.values[optAppSpec], "") }
