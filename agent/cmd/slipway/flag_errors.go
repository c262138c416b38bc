package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"slipway/lifecycle/appspec"
)

// flagError says of a flag that cannot be taken what it takes, or which one was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	see := fmt.Sprintf("see %s --help", cmd.CommandPath())
	var value *pflag.InvalidValueError
	if errors.As(err, &value) {
		if takes := valuesOf(value.GetFlag().Value.Type()); takes != "" {
			return fmt.Errorf("--%s takes %s, not %q (%s)", value.GetFlag().Name, takes, value.GetValue(), see)
		}
	}
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "" {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		if meant := appspec.Meant(unknown.GetSpecifiedName(), names); meant != "" {
			return fmt.Errorf("%w: did you mean --%s? (%s)", err, meant, see)
		}
	}
	return fmt.Errorf("%w (%s)", err, see)
}

// valuesOf says in words what a type of flag takes, or nothing.
func valuesOf(kind string) string {
	switch kind {
	case "duration":
		return "a time such as 90s, 10m or 1h30m"
	case "int":
		return "a whole number"
	case "bool":
		return "true or false"
	}
	return ""
}
