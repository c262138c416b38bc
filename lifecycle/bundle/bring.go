package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// Bring fetches the bundle of a revision into a file, as [Fetcher.Fetch] does, and unpacks it into a folder, as [Unpack] and [Strip] do. A
// tar is unpacked while it arrives, a zip after its end, where its list of entries is. A folder of this host is copied by [CopyTree]:
// then there is no bundle, the file is left alone, and of the limits those count that refuse something by its name.
//
// Success means that the bundle is complete, verified and unpacked. Otherwise the error is that of the download: [ErrDiffers] if the
// content is not the registered one, whatever came of unpacking it. An [*ArchiveError] is about a bundle that was verified, or about one
// that goes over the limits, whose download is then ended. On any error the file holds anything and the folder a part; the caller
// removes both.
func (f *Fetcher) Bring(ctx context.Context, rev Revision, file *os.File, to *os.Root, limits Limits) (Object, Stats, error) {
	switch rev.Type {
	case LocalDirectory:
		stats, err := copyTree(ctx, rev.Local.Path, to, false, limits)
		return Object{}, stats, err
	case S3, GitHub, LocalFile:
	default:
		return Object{}, Stats{}, unknownType(rev.Type)
	}
	if err := empty(file); err != nil {
		return Object{}, Stats{}, err
	}
	object, stats, err := f.bring(ctx, rev, newArrival(file), to, limits)
	if err != nil {
		return Object{}, Stats{}, err
	}
	if err := Strip(to); err != nil {
		return Object{}, Stats{}, err
	}
	return object, stats, nil
}

func (f *Fetcher) bring(ctx context.Context, rev Revision, a *arrival, to *os.Root, limits Limits) (object Object, stats Stats, err error) {
	u := &unpacking{arrival: a, format: rev.Format(), to: to, limits: limits}
	switch u.format {
	case Zip:
		if object, err = f.fetch(ctx, rev, a); err != nil {
			return Object{}, Stats{}, err
		}
		stats, err = Unpack(ctx, a.file, Zip, to, limits)
	case Tar, Tgz:
		fetching, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		done := make(chan struct{})
		go func() {
			defer close(done)
			stats, err = u.run(ctx, cancel)
		}()
		var failed error
		object, failed = f.fetch(fetching, rev, a)
		<-done
		if failed != nil && (!u.over || errors.Is(failed, ErrDiffers)) {
			return Object{}, Stats{}, failed
		}
	default:
		err = unknownFormat(u.format)
	}
	if err != nil {
		return Object{}, Stats{}, fmt.Errorf("unpack %s: %w", rev, err)
	}
	return object, stats, nil
}

// unpacking unpacks a tar behind its download.
type unpacking struct {
	arrival *arrival
	format  Format
	to      *os.Root
	limits  Limits
	over    bool // the bundle went over the limits
}

// run returns when the download has ended. What was unpacked of an attempt that became void is removed, and the next one followed.
func (u *unpacking) run(ctx context.Context, cancel context.CancelCauseFunc) (Stats, error) {
	for {
		stats, err := u.attempt(ctx)
		if u.over {
			cancel(err)
			return stats, err
		}
		if !errors.Is(err, errAnew) {
			return stats, unpackTrouble(ctx, err, u.to)
		}
		if err := clearFolder(u.to); err != nil {
			return Stats{}, err
		}
	}
}

// attempt unpacks one attempt of the download. Its error is errAnew if that became void, whatever else happened: only of an attempt
// that counts does it matter what it brings.
func (u *unpacking) attempt(ctx context.Context) (Stats, error) {
	from := u.arrival.follow(ctx)
	one := &unpacker{tree: newTree(u.to, quota{Limits: u.limits, packed: from.size})}
	defer one.tree.close()
	err := one.tar(ctx, u.format, func(ctx context.Context) io.Reader {
		return &follower{ctx: ctx, arrival: from.arrival, attempt: from.attempt}
	})
	if u.over = one.tree.over; u.over {
		return one.tree.stats, err
	}
	if ended := from.end(); ended != nil {
		return one.tree.stats, ended
	}
	if err == nil {
		err = one.tree.finish()
	}
	return one.tree.stats, err
}

// clearFolder removes all that is in a folder.
func clearFolder(dir *os.Root) error {
	names, err := list(dir, -1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := dir.RemoveAll(name); err != nil {
			return fmt.Errorf("remove what an earlier attempt left: %w", err)
		}
	}
	return nil
}
