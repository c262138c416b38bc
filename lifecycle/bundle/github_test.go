package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"slipway/lifecycle/bundle/bundletest"
)

func octo(token string, format Format) Revision {
	return Revision{Type: GitHub, GitHub: GitHubLocation{Account: "octo", Repository: "app", CommitID: "0123abc", Token: token, Format: format}}
}

// I-13, I-14, X-10: which address is asked, what it is told, and what the host of the archive is not told.
func TestGitHub(t *testing.T) {
	content := bundletest.Tgz(bundletest.Files(map[string]string{"appspec.yml": "version: 0.0\n"})...)
	for _, c := range []struct {
		name          string
		rev           Revision
		path          string
		authorization string
	}{
		{"tarball without a token", octo("", ""), "/repos/octo/app/tarball/0123abc", ""},
		{"tarball with a token", octo("ghp_secret", Tar), "/repos/octo/app/tarball/0123abc", "token ghp_secret"},
		{"zipball", octo("ghp_secret", Zip), "/repos/octo/app/zipball/0123abc", "token ghp_secret"},
		{"names that need escaping", Revision{Type: GitHub, GitHub: GitHubLocation{Account: "o c", Repository: "a?b", CommitID: "feature/x"}}, "/repos/o%20c/a%3Fb/tarball/feature%2Fx", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var archiveSaw http.Header
			archive := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				archiveSaw = r.Header.Clone()
				w.(http.Flusher).Flush() // no length, as GitHub has none
				w.Write(content)
			}))
			defer archive.Close()
			var apiSaw []*http.Request
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				apiSaw = append(apiSaw, r.Clone(context.Background()))
				if len(apiSaw) == 1 { // a repository that moved: the same host, which keeps the token
					http.Redirect(w, r, r.URL.EscapedPath()+"?moved", http.StatusMovedPermanently)
					return
				}
				http.Redirect(w, r, archive.URL+"/legacy.tar.gz?token=archive-secret", http.StatusFound)
			}))
			defer api.Close()
			to := archiveFile(t, t.TempDir(), nil)
			object, err := (&Fetcher{GitHubAPI: api.URL}).Fetch(t.Context(), c.rev, to)
			if err != nil {
				t.Fatal(err)
			}
			if data, _ := io.ReadAll(to); string(data) != string(content) || object.Bytes != int64(len(content)) {
				t.Errorf("%d bytes, %+v", len(data), object)
			}
			for i, r := range apiSaw {
				if r.URL.EscapedPath() != c.path || r.Header.Get("Authorization") != c.authorization {
					t.Errorf("request %d: %s with %q", i, r.URL.EscapedPath(), r.Header.Get("Authorization"))
				}
			}
			if len(apiSaw) != 2 || archiveSaw == nil || archiveSaw.Get("Authorization") != "" {
				t.Errorf("%d requests; the archive's host saw %v", len(apiSaw), archiveSaw)
			}
			if archiveSaw.Get("User-Agent") == "" {
				t.Errorf("no User-Agent, which GitHub refuses")
			}
		})
	}
}

// I-13: wrong arguments are refused before any request.
func TestGitHubArguments(t *testing.T) {
	for _, rev := range []Revision{
		octo("", "tgz"), octo("", "directory"),
		{Type: GitHub, GitHub: GitHubLocation{Account: "octo", Repository: "..", CommitID: "1"}},
		{Type: GitHub, GitHub: GitHubLocation{Account: "octo", Repository: "app"}},
	} {
		f := &Fetcher{HTTP: &http.Client{Transport: answers(func(int, *http.Request) (*http.Response, error) {
			t.Error("asked")
			return nil, io.EOF
		})}}
		if _, err := f.Fetch(t.Context(), rev, archiveFile(t, t.TempDir(), nil)); err == nil {
			t.Errorf("%+v: no error", rev)
		}
	}
}

// answers is GitHub inside a bubble, where there is no network; n counts requests from 1.
type answers func(n int, r *http.Request) (*http.Response, error)

type transport struct {
	answer answers
	n      int
	at     []time.Duration
	began  time.Time
}

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) { return a(1, r) }

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.n++
	t.at = append(t.at, time.Since(t.began))
	return t.answer(t.n, r)
}

func respond(r *http.Request, status int, body string, headers ...string) *http.Response {
	h := http.Header{"Date": {time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)}} // this host's clock is an hour fast
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &http.Response{StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1, Request: r}
}

// I-15, X-34: after 10, 30 and 90 s for answers that may change and for the network; never for answers that stay; a rate limit is
// waited for beside.
func TestGitHubRetries(t *testing.T) {
	const s = time.Second
	ok := func(r *http.Request) (*http.Response, error) { return respond(r, 200, "content"), nil }
	status := func(code int) answers {
		return func(_ int, r *http.Request) (*http.Response, error) { return respond(r, code, ""), nil }
	}
	for _, c := range []struct {
		name   string
		answer answers
		at     []time.Duration
		says   []string // empty: it succeeds
	}{
		{"at once", func(_ int, r *http.Request) (*http.Response, error) { return ok(r) }, []time.Duration{0}, nil},
		{"trouble of the server", func(n int, r *http.Request) (*http.Response, error) {
			if n < 3 {
				return respond(r, 502, ""), nil
			}
			return ok(r)
		}, []time.Duration{0, 10 * s, 40 * s}, nil},
		{"trouble of the network", func(n int, r *http.Request) (*http.Response, error) {
			if n < 4 {
				return nil, errors.New("connection reset by peer")
			}
			return ok(r)
		}, []time.Duration{0, 10 * s, 40 * s, 130 * s}, nil},
		{"body that breaks off", func(n int, r *http.Request) (*http.Response, error) {
			if n == 1 {
				res := respond(r, 200, "")
				res.Body = io.NopCloser(io.MultiReader(strings.NewReader("some longer content"), &failingReader{io.ErrUnexpectedEOF}))
				return res, nil
			}
			return ok(r)
		}, []time.Duration{0, 10 * s}, nil},
		{"shorter than announced", func(n int, r *http.Request) (*http.Response, error) {
			res := respond(r, 200, "content")
			if n == 1 {
				res.ContentLength = 8
			}
			return res, nil
		}, []time.Duration{0, 10 * s}, nil},
		{"always trouble", func(n int, r *http.Request) (*http.Response, error) { return respond(r, 500+n, ""), nil }, []time.Duration{0, 10 * s, 40 * s, 130 * s}, []string{"501", "502", "503", "504"}},
		{"not there", status(404), []time.Duration{0}, []string{"no repository octo/app or no commit 0123abc", "404"}},
		{"token not accepted", status(401), []time.Duration{0}, []string{"token is not accepted"}},
		{"commit that is none", status(422), []time.Duration{0}, []string{"422"}},
		{"rate limit until a time", func(n int, r *http.Request) (*http.Response, error) {
			if n == 1 {
				return respond(r, 403, "", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", fmt.Sprint(time.Now().Add(-time.Hour).Add(20*time.Minute).Unix())), nil
			}
			return ok(r)
		}, []time.Duration{0, 20*time.Minute + s}, nil},
		{"rate limit for seconds", func(n int, r *http.Request) (*http.Response, error) {
			if n < 3 {
				return respond(r, 429, "", "Retry-After", "60"), nil
			}
			return ok(r)
		}, []time.Duration{0, 61 * s, 122 * s}, nil},
		{
			"rate limit without end", func(_ int, r *http.Request) (*http.Response, error) {
				return respond(r, 429, "", "Retry-After", "60"), nil
			},
			[]time.Duration{0, 61 * s, 122 * s, 183 * s, 244 * s, 305 * s, 395 * s},
			[]string{"rate limit", "429"},
		},
		{"refused without a reason", func(n int, r *http.Request) (*http.Response, error) {
			if n == 1 {
				return respond(r, 403, "", "X-RateLimit-Remaining", "40"), nil
			}
			return ok(r)
		}, []time.Duration{0, 10 * s}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := archiveFile(t, t.TempDir(), nil)
			synctest.Test(t, func(t *testing.T) {
				rt := &transport{answer: c.answer, began: time.Now()}
				object, err := (&Fetcher{HTTP: &http.Client{Transport: rt}}).Fetch(t.Context(), octo("ghp_secret", Tar), to)
				if !slices.Equal(rt.at, c.at) {
					t.Errorf("asked at %v, want %v", rt.at, c.at)
				}
				if len(c.says) == 0 {
					data, _ := os.ReadFile(to.Name())
					if err != nil || object.Bytes != 7 || string(data) != "content" {
						t.Errorf("Fetch() = %+v, %v, %q", object, err, data)
					}
					return
				}
				for _, says := range append(c.says, "github.com/octo/app") {
					if err == nil || !strings.Contains(err.Error(), says) {
						t.Errorf("Fetch() = %v, want it to say %q", err, says)
					}
				}
				if strings.Contains(fmt.Sprint(err), "ghp_secret") {
					t.Errorf("the token is in the error: %v", err)
				}
			})
		})
	}
}

type failingReader struct{ err error }

func (f *failingReader) Read([]byte) (int, error) { return 0, f.err }

// The pauses end with the context; one that would be longer than there is time is not begun.
func TestGitHubPausesEndWithTheContext(t *testing.T) {
	to := archiveFile(t, t.TempDir(), nil)
	synctest.Test(t, func(t *testing.T) {
		because := errors.New("the agent is stopping")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(25*time.Second, func() { cancel(because) })
		rt := &transport{answer: func(_ int, r *http.Request) (*http.Response, error) { return respond(r, 503, ""), nil }, began: time.Now()}
		_, err := (&Fetcher{HTTP: &http.Client{Transport: rt}}).Fetch(ctx, octo("", Tar), to)
		if took := time.Since(rt.began); !errors.Is(err, because) || took != 25*time.Second {
			t.Errorf("Fetch() = %v after %v", err, took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		rt := &transport{answer: func(_ int, r *http.Request) (*http.Response, error) {
			return respond(r, 403, "", "Retry-After", "3000"), nil
		}, began: time.Now()}
		_, err := (&Fetcher{HTTP: &http.Client{Transport: rt}}).Fetch(ctx, octo("", Tar), to)
		if took := time.Since(rt.began); err == nil || took != 0 || !strings.Contains(err.Error(), "longer than there is time") {
			t.Errorf("Fetch() = %v after %v", err, took)
		}
	})
}

// neither the token nor the secret address of an archive comes into an error, and https is not left.
func TestGitHubErrorsHaveNoSecrets(t *testing.T) {
	for name, location := range map[string]string{
		"host that is not there": "https://codeload.example/octo/app?token=archive-secret",
		"plain http":             "http://codeload.example/octo/app?token=archive-secret",
	} {
		t.Run(name, func(t *testing.T) {
			to := archiveFile(t, t.TempDir(), nil)
			synctest.Test(t, func(t *testing.T) {
				rt := &transport{answer: func(_ int, r *http.Request) (*http.Response, error) {
					if r.URL.Host == "codeload.example" {
						return nil, &url.Error{Op: "Get", URL: r.URL.String(), Err: errors.New("no such host")}
					}
					return respond(r, 302, "", "Location", location), nil
				}}
				_, err := (&Fetcher{HTTP: &http.Client{Transport: rt}}).Fetch(t.Context(), octo("ghp_secret", Tar), to)
				if err == nil || strings.Contains(err.Error(), "secret") {
					t.Errorf("Fetch() = %v", err)
				}
				if name == "plain http" && !strings.Contains(fmt.Sprint(err), "it leads from https to http") {
					t.Errorf("Fetch() = %v", err)
				}
			})
		})
	}
}
