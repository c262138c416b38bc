package install

import "strings"

// Aspects say in what a path on the host differs from what was installed there.
type Aspects uint16

// The aspects. Several may hold for one path.
const (
	Missing        Aspects = 1 << iota // there is nothing
	TypeDiffers                        // another kind of thing: a link instead of a directory, say
	SizeDiffers                        // of a file
	ContentDiffers                     // of a file
	TimeDiffers                        // of the last change of a file
	LinkDiffers                        // a link's text
	ModeDiffers                        // permission and set-id bits
	OwnerDiffers                       // the user
	GroupDiffers                       // the user group
	ListDiffers                        // an access control list
	Leftover                           // a hidden file of an installation that is over
	Unchecked                          // there is nothing to compare the content with; size and time decide
)

// Difference is a path that is not as the last installation has left it, or what a person should know of the comparison.
type Difference struct {
	Path string
	What Aspects
	Note string // empty for most
}

// String is a line as rpm -V writes it, with the note behind.
func (d Difference) String() string {
	s := d.What.String() + "    " + d.Path
	if d.Note != "" {
		s += ": " + d.Note
	}
	return s
}

// touched are the aspects of a path in which a person's work may lie.
const touched = TypeDiffers | SizeDiffers | ContentDiffers | TimeDiffers | LinkDiffers

// letters are those of rpm -V where it has one, in its order; F and A are ours.
var letters = [...]struct {
	aspect Aspects
	letter byte
	word   string
}{
	{SizeDiffers, 'S', "size"},
	{ModeDiffers, 'M', "mode"},
	{ContentDiffers, '5', "content"},
	{TypeDiffers, 'F', "type"},
	{LinkDiffers, 'L', "link"},
	{OwnerDiffers, 'U', "owner"},
	{GroupDiffers, 'G', "group"},
	{TimeDiffers, 'T', "time"},
	{ListDiffers, 'A', "access control list"},
}

// String is like rpm -V: "missing", "leftover", or a letter for each aspect that differs and a dot for each that does not:
// S size, M mode, 5 content (? not compared), F file type, L link, U user, G group, T time, A access control list.
func (a Aspects) String() string {
	switch {
	case a&Missing != 0:
		return "missing  "
	case a&Leftover != 0:
		return "leftover "
	}
	var b [len(letters)]byte
	for i, l := range letters {
		switch {
		case a&l.aspect != 0:
			b[i] = l.letter
		case l.aspect == ContentDiffers && a&Unchecked != 0:
			b[i] = '?'
		default:
			b[i] = '.'
		}
	}
	return string(b[:])
}

// words names the aspects in a sentence.
func (a Aspects) words() string {
	var all []string
	for _, l := range letters {
		if a&l.aspect != 0 {
			all = append(all, l.word)
		}
	}
	return strings.Join(all, ", ")
}
