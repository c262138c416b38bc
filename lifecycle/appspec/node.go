package appspec

// NodeKind is what a Node is.
type NodeKind uint8

// The kinds of node.
const (
	ScalarNode NodeKind = iota
	ListNode
	MapNode
	AliasNode
)

// Style is how a Node is written.
type Style uint8

// The styles: the first five are those of scalars, the last two those of lists and maps.
const (
	Plain Style = iota
	SingleQuoted
	DoubleQuoted
	Literal
	Folded
	Block
	Flow
)

// Node is one value of the file as written: what it means is for YAML 1.1 to say, and not decided yet.
type Node struct {
	Kind  NodeKind
	Style Style
	// Tag is the explicit tag, with its handle resolved, as in "tag:yaml.org,2002:str"; empty if there is none.
	Tag string
	// Anchor is the name of an anchor (&name) on the node, or the one that an alias refers to.
	Anchor string
	// Value is the content of a scalar, after folding and escapes.
	Value string
	// Content is the items of a list, or the keys and values of a map in turn, duplicates included.
	Content []*Node
	// Start is the first character of the node, or of its tag or anchor. End is one past its last.
	Start, End Pos
}

// mark is a place in the text, by byte and by line and column.
type mark struct {
	offset int
	Pos
}

type tokenKind uint8

const (
	streamEnd tokenKind = iota
	versionDirective
	tagDirective
	documentStart
	documentEnd
	blockListStart
	blockMapStart
	blockEnd
	flowListStart
	flowListEnd
	flowMapStart
	flowMapEnd
	flowEntry
	blockEntry
	keyToken
	valueToken
	aliasToken
	anchorToken
	tagToken
	scalarToken
)

// token is a piece of the text that has a meaning for the structure.
type token struct {
	kind       tokenKind
	style      Style
	start, end mark
	value      string // of a scalar, anchor or alias; the handle of a tag
	suffix     string // of a tag
}
