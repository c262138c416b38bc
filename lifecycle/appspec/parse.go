package appspec

// MaxSize is the largest file that Parse reads, in bytes.
const MaxSize = 1 << 20

// Parse reads an appspec file for a Linux host. name is used in messages only. The Spec is nil if and only if Err of the
// Diagnostics is not.
func Parse(name string, data []byte) (*Spec, Diagnostics) { return nil, nil }

type source struct{}

type kind uint8
