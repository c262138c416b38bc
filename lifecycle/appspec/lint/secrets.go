package lint

import "slipway/lifecycle/textdiff"

// secret says what a file looks like that nobody should find in a bundle, "" for all others. It goes by names: most content is none
// of our business.
func secret(e entry) string {
	if e.typ.IsDir() {
		return ""
	}
	return textdiff.Secret(e.name)
}
