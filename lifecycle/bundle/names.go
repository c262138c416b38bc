package bundle

import (
	"fmt"
	"path"
	"strings"
)

const (
	maxPart = 255 // bytes of one name, the kernel's limit
	// maxName leaves room for the folder that the archive is unpacked into: together they have to stay below the kernel's 4,096.
	maxName   = 3840
	maxDepth  = 255
	maxTarget = 4095 // bytes of a link's target, the kernel's limit
)

// clean makes the name of an entry relative to the folder it is unpacked into, without parts that say nothing; "." is the folder
// itself. A name that leaves the folder or that no file can have is refused, never mended: what it would become is a guess.
func clean(name string) (string, error) {
	refuse := func(problem string) (string, error) { return "", &ArchiveError{Entry: name, Problem: problem} }
	switch {
	case name == "":
		return "", &ArchiveError{Problem: "an entry has no name"}
	case strings.IndexByte(name, 0) >= 0:
		return refuse("has a NUL in its name")
	case name[0] == '/':
		return refuse("has an absolute name: a bundle may name only what lies in it")
	case len(name) > maxName:
		return refuse(fmt.Sprintf("has a name of more than %d bytes", maxName))
	}
	redundant, depth := false, 0
	for rest, more := name, true; more; {
		var part string
		part, rest, more = strings.Cut(rest, "/")
		depth++
		switch {
		case part == "..":
			return refuse(`climbs: its name has a ".."`)
		case part == "" || part == ".":
			redundant = true
			depth--
		case len(part) > maxPart:
			return refuse(fmt.Sprintf("has a part of more than %d bytes in its name", maxPart))
		}
	}
	if depth > maxDepth {
		return refuse(fmt.Sprintf("lies more than %d folders deep", maxDepth))
	}
	if redundant {
		return path.Clean(name), nil
	}
	return name, nil
}

// checkTarget refuses what no symbolic link can hold. Where the target leads does not matter: links are never followed here.
func checkTarget(name, target string) error {
	switch {
	case target == "":
		return &ArchiveError{Entry: name, Problem: "is a symbolic link without a target"}
	case strings.IndexByte(target, 0) >= 0:
		return &ArchiveError{Entry: name, Problem: "is a symbolic link with a NUL in its target"}
	case len(target) > maxTarget:
		return &ArchiveError{Entry: name, Problem: fmt.Sprintf("is a symbolic link with a target of more than %d bytes", maxTarget)}
	}
	return nil
}
