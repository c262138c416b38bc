package bundle

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"os"
	"strings"
)

// algorithm is a way to compute a checksum.
type algorithm struct {
	name string // as it stands in a sum
	make func() hash.Hash
}

// The checksums that S3 keeps, and with them the ones that a sum may have.
var (
	sumMD5       = algorithm{"md5", md5.New}
	sumSHA1      = algorithm{"sha1", sha1.New}
	sumSHA256    = algorithm{"sha256", sha256.New}
	sumCRC64NVME = algorithm{"crc64nvme", func() hash.Hash { return crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5)) }}
	sumCRC32C    = algorithm{"crc32c", func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }}
	sumCRC32     = algorithm{"crc32", func() hash.Hash { return crc32.NewIEEE() }}

	algorithms = []algorithm{sumMD5, sumSHA1, sumSHA256, sumCRC64NVME, sumCRC32C, sumCRC32}
)

// checksum is what a bundle must have, or, without a value, what is computed of it.
type checksum struct {
	algorithm
	want []byte
}

func (c checksum) text(value []byte) string { return c.name + ":" + hex.EncodeToString(value) }

// summed carries out a download and computes, behind it, the checksum that choose asks for: it is called at once, beside the download,
// and its context ends when the download fails.
func summed(ctx context.Context, a *arrival, choose func(context.Context) (checksum, error), download func() (Object, error)) (Object, error) {
	behind, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := a.check(behind, choose)
		done <- result{text, err}
	}()
	object, err := download()
	if err != nil || object.Bytes == 0 {
		cancel(err)
	} else {
		a.end(nil)
	}
	sum := <-done
	switch {
	case err != nil || object.Bytes == 0:
		return Object{}, err
	case sum.err != nil:
		return Object{}, sum.err
	}
	object.Sum = sum.text
	return object, nil
}

// check computes the checksum of what arrives and compares it with the one wanted, if one is.
func (a *arrival) check(ctx context.Context, choose func(context.Context) (checksum, error)) (string, error) {
	c, err := choose(ctx)
	if err != nil {
		return "", err
	}
	got, err := a.digest(ctx, c.make())
	if err != nil {
		return "", fmt.Errorf("verify the bundle: %w", err)
	}
	if c.want != nil && !bytes.Equal(got, c.want) {
		return "", fmt.Errorf("its content does not have the checksum that S3 keeps for it: it is %s, not %s: %w", c.text(got), c.text(c.want), ErrDiffers)
	}
	return c.text(got), nil
}

// sha256Only is the choice where there is nothing to compare with.
func sha256Only(context.Context) (checksum, error) { return checksum{algorithm: sumSHA256}, nil }

// Check reads a bundle on the disk and compares it with an [Object.Sum]. The error wraps [ErrDiffers] when the file is another one; any
// other says that it cannot be told. The file's offset neither matters nor changes.
func Check(ctx context.Context, f *os.File, sum string) error {
	name, text, _ := strings.Cut(sum, ":")
	want, err := hex.DecodeString(text)
	if err != nil || text == "" {
		return fmt.Errorf("%q is not a checksum with its name before it", sum)
	}
	for _, alg := range algorithms {
		if alg.name != name {
			continue
		}
		h := alg.make()
		if _, err := io.CopyBuffer(h, &source{ctx: ctx, ReaderAt: f}, make([]byte, 256<<10)); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("verify %s: %w", f.Name(), err)
		}
		if got := h.Sum(nil); !bytes.Equal(got, want) {
			return fmt.Errorf("%s has the checksum %s:%x, not %s: %w", f.Name(), name, got, sum, ErrDiffers)
		}
		return nil
	}
	return errors.New("checksums of type " + quoted(name) + " are not known here")
}
