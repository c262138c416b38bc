package bundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

const (
	gitHubAPI      = "https://api.github.com"
	gitHubSettle   = time.Second // added to the time at which GitHub says its limit ends
	gitHubPatience = 3           // rate limits waited for
)

// gitHubPauses are between attempts (I-15).
var gitHubPauses = []time.Duration{10 * time.Second, 30 * time.Second, 90 * time.Second}

// gitHub downloads the archive of a commit (I-13). Answers that may change and trouble of the network are tried again after 10, 30
// and 90 s (I-15, X-34); a rate limit is waited for as long as the context allows; 401, 404 and their like are final.
func (f *Fetcher) gitHub(ctx context.Context, from GitHubLocation, to *arrival) (Object, error) {
	address, err := f.gitHubURL(from)
	if err != nil {
		return Object{}, err
	}
	log := f.Log
	if log == nil {
		log = zap.NewNop()
	}
	var failed []string
	for waits := 0; ; {
		n, err := f.gitHubAttempt(ctx, address, from, to)
		if err == nil {
			return Object{Bytes: n}, nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return Object{}, fmt.Errorf("download %s: %w", from, cause)
		}
		again := new(mayChange)
		if !errors.As(err, &again) {
			return Object{}, fmt.Errorf("download %s: %w", from, err)
		}
		pause := again.wait
		switch {
		case pause > 0 && waits < gitHubPatience:
			waits++
		case len(failed) == len(gitHubPauses):
			return Object{}, fmt.Errorf("download %s: %w (before that: %s)", from, err, strings.Join(failed, "; "))
		default:
			pause = max(pause, gitHubPauses[len(failed)])
			failed = append(failed, err.Error())
		}
		if end, ok := ctx.Deadline(); ok && time.Until(end) < pause {
			return Object{}, fmt.Errorf("download %s: %w: another attempt would have to wait %s, longer than there is time", from, err, pause)
		}
		log.Warn("the download from GitHub is tried again", zap.Stringer("revision", from), zap.Error(err), zap.Duration("in", pause))
		if err := sleep(ctx, pause); err != nil {
			return Object{}, fmt.Errorf("download %s: %w", from, err)
		}
		if err := to.anew(); err != nil {
			return Object{}, err
		}
	}
}

// mayChange is a failure after which the same request may succeed; wait is how long the server wants to be left alone, if it says.
type mayChange struct {
	err  error
	wait time.Duration
}

func (e *mayChange) Error() string { return e.err.Error() }
func (e *mayChange) Unwrap() error { return e.err }

func (f *Fetcher) gitHubURL(from GitHubLocation) (*url.URL, error) {
	kinds := map[Format]string{"": "tarball", Tar: "tarball", Zip: "zipball"}
	kind, ok := kinds[from.Format]
	if !ok {
		return nil, fmt.Errorf("bundle type %q of a GitHub revision is not one of tar, zip", string(from.Format))
	}
	for what, value := range map[string]string{"account": from.Account, "repository": from.Repository, "commit": from.CommitID} {
		if value == "" || value == "." || value == ".." {
			return nil, fmt.Errorf("the GitHub revision has %q for its %s", value, what)
		}
	}
	base, err := url.Parse(cmp.Or(f.GitHubAPI, gitHubAPI))
	if err != nil {
		return nil, fmt.Errorf("the address of the GitHub API: %w", err)
	}
	// A commit may be the name of a branch, with a slash in it that has to stay in its part of the path.
	return base.JoinPath("repos", url.PathEscape(from.Account), url.PathEscape(from.Repository), kind, url.PathEscape(from.CommitID)), nil
}

// gitHubAttempt is one request and its redirects.
func (f *Fetcher) gitHubAttempt(ctx context.Context, address *url.URL, from GitHubLocation, to *arrival) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), http.NoBody)
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", "slipway") // GitHub refuses requests without one
	if from.Token != "" {
		req.Header.Set("Authorization", "token "+from.Token)
	}
	client := http.Client{}
	if f.HTTP != nil {
		client = *f.HTTP
	}
	client.CheckRedirect = checkRedirect
	res, err := client.Do(req)
	if errors.Is(err, errRedirect) {
		return 0, withoutURL(err)
	}
	if err != nil {
		return 0, &mayChange{err: withoutURL(err)}
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return 0, gitHubAnswer(res, from)
	}
	if err := room(to.file, res.ContentLength); err != nil {
		return 0, err
	}
	written, err := copyBody(to, res.Body)
	if err != nil {
		return 0, err
	}
	if res.ContentLength >= 0 && written != res.ContentLength {
		return 0, &mayChange{err: fmt.Errorf("%d bytes arrived of %d", written, res.ContentLength)}
	}
	return written, nil
}

// copyBody keeps a connection that breaks off, which is tried again, apart from a disk that is full, which is not.
func copyBody(to *arrival, body io.Reader) (int64, error) {
	buf := make([]byte, 128<<10)
	for written := int64(0); ; {
		n, err := body.Read(buf)
		if _, err := to.WriteAt(buf[:n], written); err != nil {
			return 0, fmt.Errorf("write the bundle: %w", outOfSpace(err, to.file.Name()))
		}
		written += int64(n)
		if err == io.EOF {
			return written, nil
		}
		if err != nil {
			return 0, &mayChange{err: fmt.Errorf("the connection broke off after %s: %w", amount(written), err)}
		}
	}
}

var errRedirect = errors.New("the redirect is not followed")

// checkRedirect drops the token on the way to another host. The archives lie on another one than the API, and their address
// holds a secret of its own where one is needed.
func checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) >= 10:
		return fmt.Errorf("%w: it is the tenth", errRedirect)
	case first.Scheme == "https" && req.URL.Scheme != "https":
		return fmt.Errorf("%w: it leads from https to %s", errRedirect, req.URL.Scheme)
	case req.URL.Host != first.Host || req.URL.Scheme != first.Scheme:
		req.Header.Del("Authorization")
	}
	return nil
}

// withoutURL takes the address out of an error of the HTTP client: that of an archive holds a secret.
func withoutURL(err error) error {
	host := "the server"
	for wrapped := new(url.Error); errors.As(err, &wrapped); err = wrapped.Err {
		if u, parseErr := url.Parse(wrapped.URL); parseErr == nil {
			host = u.Host
		}
	}
	return fmt.Errorf("ask %s: %w", host, err)
}

// gitHubAnswer is the error for a status other than 200.
func gitHubAnswer(res *http.Response, from GitHubLocation) error {
	status := fmt.Sprintf("%s answers %s", res.Request.URL.Host, res.Status)
	with := "without a token, which a private repository needs"
	if from.Token != "" {
		with = "with the token of the revision"
	}
	switch code := res.StatusCode; {
	case code == http.StatusUnauthorized:
		return fmt.Errorf("%s: the token is not accepted: it is wrong, has expired or was revoked", status)
	case code == http.StatusNotFound:
		return fmt.Errorf("%s: there is no repository %s/%s or no commit %s in it, or it cannot be seen %s", status, from.Account, from.Repository, from.CommitID, with)
	case code == http.StatusForbidden || code == http.StatusTooManyRequests:
		wait := rateLimit(res)
		if wait > 0 {
			return &mayChange{fmt.Errorf("%s: the rate limit is used up for %s (asked %s)", status, wait.Round(time.Second), with), wait}
		}
		return &mayChange{err: fmt.Errorf("%s: access is refused (asked %s)", status, with)}
	case slices.Contains([]int{http.StatusBadRequest, http.StatusGone, http.StatusUnprocessableEntity, http.StatusUnavailableForLegalReasons}, code):
		return errors.New(status)
	default:
		return &mayChange{err: errors.New(status)}
	}
}

// rateLimit is how long GitHub wants to be left alone; zero when the answer does not say. Its clock counts, not this host's.
func rateLimit(res *http.Response) time.Duration {
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds > 0 {
		return time.Duration(seconds)*time.Second + gitHubSettle
	}
	reset, err := strconv.ParseInt(res.Header.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil || res.Header.Get("X-RateLimit-Remaining") != "0" {
		return 0
	}
	now, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(time.Unix(reset, 0).Sub(now), 0) + gitHubSettle
}

// sleep waits, or ends with the context.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
