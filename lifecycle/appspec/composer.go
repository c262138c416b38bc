package appspec

// composer makes the tree of the first document out of tokens.
type composer struct {
	*scanner
	handles map[string]string // tag handles and what they stand for
	depth   int
}

// compose gives the root of the first document, nil if there is none. What follows that document is looked at only as far as it
// takes to see that it ends.
func compose(src *source) (*Node, error) {
	c := &composer{scanner: newScanner(src), handles: map[string]string{"!": "!", "!!": "tag:yaml.org,2002:"}}
	t, err := c.peek()
	if err != nil || t.kind == streamEnd {
		return nil, err
	}
	if err := c.directives(); err != nil {
		return nil, err
	}
	if t, err = c.peek(); err != nil {
		return nil, err
	}
	if t.kind == documentStart {
		c.take()
		if t, err = c.peek(); err != nil {
			return nil, err
		}
		switch t.kind {
		case versionDirective, tagDirective, documentStart, documentEnd, streamEnd:
			return nil, nil
		}
	}
	root, err := c.node(true, false)
	if err != nil {
		return nil, err
	}
	// The document ends here, whatever comes: but it has to be a token.
	if _, err := c.peek(); err != nil {
		return nil, err
	}
	return root, nil
}

// directives reads what stands before the document.
func (c *composer) directives() error {
	version := false
	own := map[string]bool{}
	for {
		t, err := c.peek()
		if err != nil {
			return err
		}
		switch t.kind {
		case versionDirective:
			if version || t.value != "1.1" && t.value != "1.2" {
				return bad(t.start, "the file is read as YAML 1.1", "remove the line")
			}
			version = true
		case tagDirective:
			if own[t.value] {
				return bad(t.start, "the tag handle "+clip(t.value, 60)+" is declared twice", "remove the line")
			}
			own[t.value] = true
			c.handles[t.value] = t.suffix
		case documentStart:
			return nil
		default:
			if version || len(own) > 0 {
				return bad(t.start, "after a directive the document begins with ---", "write --- on a line of its own")
			}
			return nil
		}
		c.take()
	}
}

// node reads one value with its tag and anchor. block is false within brackets; dashes is true where a list may stand at the
// column of the key that it belongs to.
func (c *composer) node(block, dashes bool) (*Node, error) {
	if c.depth++; c.depth > maxDepth {
		return nil, c.tooDeep()
	}
	defer func() { c.depth-- }()
	t, err := c.peek()
	if err != nil {
		return nil, err
	}
	if t.kind == aliasToken {
		c.take()
		return &Node{Kind: AliasNode, Anchor: t.value, Start: t.start.Pos, End: t.end.Pos}, nil
	}
	n := &Node{Start: t.start.Pos}
	properties, end, err := c.properties(n)
	if err != nil {
		return nil, err
	}
	if t, err = c.peek(); err != nil {
		return nil, err
	}
	n.End = t.end.Pos
	switch {
	case dashes && t.kind == blockEntry:
		return n, c.list(n, false)
	case t.kind == scalarToken:
		c.take()
		n.Style, n.Value = t.style, t.value
		return n, nil
	case t.kind == flowListStart:
		return n, c.flowList(n)
	case t.kind == flowMapStart:
		return n, c.flowMap(n)
	case block && t.kind == blockListStart:
		return n, c.list(n, true)
	case block && t.kind == blockMapStart:
		return n, c.blockMap(n)
	case properties:
		n.End = end.Pos
		return n, nil
	default:
		return nil, c.noContent(t)
	}
}

// properties reads a tag and an anchor in either order.
func (c *composer) properties(n *Node) (any bool, end mark, err error) {
	var tagged, anchored bool
	for {
		t, err := c.peek()
		switch {
		case err != nil:
			return false, end, err
		case t.kind == anchorToken && !anchored:
			anchored, n.Anchor = true, t.value
		case t.kind == tagToken && !tagged:
			prefix, known := c.handles[t.value]
			if t.value != "" && !known {
				return false, end, bad(t.start, "the tag handle "+clip(t.value, 60)+" is not declared", "put the value in quotes if the ! is meant")
			}
			tagged, n.Tag = true, prefix+t.suffix
		default:
			return tagged || anchored, end, nil
		}
		end = t.end
		c.take()
	}
}

// empty is the value between two tokens that have none.
func empty(at mark) *Node { return &Node{Start: at.Pos, End: at.Pos} }

// list reads a block list. One that stands at the column of its key has no tokens for its beginning and end.
func (c *composer) list(n *Node, own bool) error {
	n.Kind, n.Style = ListNode, Block
	if own {
		c.take()
	}
	for {
		t, err := c.peek()
		if err != nil {
			return err
		}
		switch {
		case t.kind == blockEntry:
		case !own:
			return nil
		case t.kind == blockEnd:
			c.take()
			return nil
		default:
			return c.misaligned(t)
		}
		c.take()
		next, err := c.peek()
		if err != nil {
			return err
		}
		item := empty(t.end)
		if k := next.kind; k != blockEntry && k != blockEnd && (own || k != keyToken && k != valueToken) {
			if item, err = c.node(true, false); err != nil {
				return err
			}
		}
		n.Content = append(n.Content, item)
		n.End = item.End
	}
}

func (c *composer) blockMap(n *Node) error {
	n.Kind, n.Style = MapNode, Block
	c.take()
	for {
		t, err := c.peek()
		if err != nil {
			return err
		}
		switch t.kind {
		case keyToken:
		case blockEnd:
			c.take()
			return nil
		default:
			return c.misaligned(t)
		}
		c.take()
		k, err := c.blockMapPart(t.end)
		if err != nil {
			return err
		}
		v := empty(mark{Pos: k.End})
		if t, err = c.peek(); err != nil {
			return err
		}
		if t.kind == valueToken {
			c.take()
			if v, err = c.blockMapPart(t.end); err != nil {
				return err
			}
		}
		n.Content = append(n.Content, k, v)
		n.End = v.End
	}
}

// blockMapPart reads a key or a value, either of which may be missing.
func (c *composer) blockMapPart(before mark) (*Node, error) {
	t, err := c.peek()
	switch {
	case err != nil:
		return nil, err
	case t.kind == keyToken || t.kind == valueToken || t.kind == blockEnd:
		return empty(before), nil
	default:
		return c.node(true, true)
	}
}

func (c *composer) flowList(n *Node) error {
	n.Kind, n.Style = ListNode, Flow
	return c.brackets(n, flowListEnd, "]", func(t token) error {
		if t.kind != keyToken {
			item, err := c.node(false, false)
			n.Content = append(n.Content, item)
			return err
		}
		// [a: b] is a list of a map with one key.
		c.take()
		one := &Node{Kind: MapNode, Style: Flow, Start: t.start.Pos}
		k, err := c.flowPart(t.end, valueToken, flowEntry, flowListEnd)
		if err != nil {
			return err
		}
		if k.Start == k.End {
			// The reference's parser loses a token here.
			if _, err := c.peek(); err != nil {
				return err
			}
			c.take()
		}
		v, err := c.flowValue(k, flowListEnd)
		if err != nil {
			return err
		}
		one.Content, one.End = []*Node{k, v}, v.End
		n.Content = append(n.Content, one)
		return nil
	})
}

func (c *composer) flowMap(n *Node) error {
	n.Kind, n.Style = MapNode, Flow
	return c.brackets(n, flowMapEnd, "}", func(t token) error {
		if t.kind != keyToken {
			k, err := c.node(false, false)
			if err != nil {
				return err
			}
			n.Content = append(n.Content, k, empty(mark{Pos: k.End}))
			return nil
		}
		c.take()
		k, err := c.flowPart(t.end, valueToken, flowEntry, flowMapEnd)
		if err != nil {
			return err
		}
		v, err := c.flowValue(k, flowMapEnd)
		if err != nil {
			return err
		}
		n.Content = append(n.Content, k, v)
		return nil
	})
}

// brackets reads what stands in brackets, separated by commas. A comma before the closing bracket is allowed.
func (c *composer) brackets(n *Node, end tokenKind, closing string, entry func(token) error) error {
	c.take()
	for first := true; ; first = false {
		t, err := c.peek()
		if err != nil {
			return err
		}
		if t.kind != end && !first {
			if t.kind != flowEntry {
				return bad(t.start, "a comma or "+closing+" is missing before this place", "write , between the entries, or close the bracket with "+closing)
			}
			c.take()
			if t, err = c.peek(); err != nil {
				return err
			}
		}
		if t.kind == end {
			n.End = t.end.Pos
			c.take()
			return nil
		}
		if err := entry(t); err != nil {
			return err
		}
	}
}

// flowPart reads a value in brackets that may be missing before one of these tokens.
func (c *composer) flowPart(before mark, missing ...tokenKind) (*Node, error) {
	t, err := c.peek()
	if err != nil {
		return nil, err
	}
	for _, kind := range missing {
		if t.kind == kind {
			return empty(before), nil
		}
	}
	return c.node(false, false)
}

// flowValue reads the colon and value of a key in brackets, both of which may be missing.
func (c *composer) flowValue(k *Node, end tokenKind) (*Node, error) {
	t, err := c.peek()
	if err != nil {
		return nil, err
	}
	if t.kind != valueToken {
		return empty(mark{Pos: k.End}), nil
	}
	c.take()
	return c.flowPart(t.end, flowEntry, end)
}

// misaligned is about a line within a block that does not continue it.
func (c *composer) misaligned(t token) error {
	if t.kind == valueToken {
		return bad(t.start, "a colon without a key before it", "write the key before the colon")
	}
	return bad(t.start, "the line is not indented like its neighbours", "align it with the lines of the same list or map")
}

func (c *composer) noContent(t token) error {
	switch t.kind {
	case streamEnd:
		return bad(t.start, "the file ends where a value has to stand", "check that brackets are closed")
	case valueToken:
		return bad(t.start, "a colon without a key before it", "put the value in quotes if the colon is meant")
	default:
		return bad(t.start, "a value cannot begin with "+clip(c.text[t.start.offset:t.end.offset], 10), "put the value in quotes")
	}
}
