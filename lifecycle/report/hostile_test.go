package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"slipway/lifecycle"
	"slipway/lifecycle/report"
)

// hostile is what a bundle or a script may put anywhere: markup, control sequences of terminals, characters that turn the direction of text or are not
// seen, and bytes that are no UTF-8.
const hostile = "</title></style></script><img src=x onerror=alert(1)>\"'&amp;]]><!--" +
	"\x1b]0;gone\x07\x1b[2J\x1b[31m\u009b31m\r\n\b\x00\x7f\u202e\u2066\u200b\u200d\ufeff\u2028\u00ad\ufffe\xff\xc3(\xf0\x9f"

// filled is an account in which every text is hostile, every number the given one, and every list has two of everything.
func filled(t testing.TB, text string, number int64) *lifecycle.Account {
	t.Helper()
	a := new(lifecycle.Account)
	fill(reflect.ValueOf(a).Elem(), text, number)
	return a
}

func fill(v reflect.Value, text string, number int64) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(number)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), text, number)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text, number)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(number%1e10, 0).UTC()))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), text, number)
		}
	default:
		panic(fmt.Sprintf("an account has a field of kind %v: teach fill about it", v.Kind()))
	}
}

// Whatever stands in any field of an account reaches neither the page nor the terminal as it is.
func TestHostile(t *testing.T) {
	t.Parallel()
	numbers := []int64{0, -1, 4, math.MaxInt64, math.MinInt64}
	for i, outcome := range []string{hostile, lifecycle.OutcomeSucceeded, lifecycle.OutcomeFailed, lifecycle.OutcomeInterrupted, lifecycle.OutcomeForeign} {
		for j := range numbers[:2] {
			a := filled(t, hostile, numbers[(i+2*j)%len(numbers)])
			a.Outcome, a.Rehearsal = outcome, j == 0
			for i := range a.Events {
				a.Events[i].Outcome = outcome
			}
			a.Files = append(a.Files, changesOfAllKinds()...)
			checkPage(t, html(t, a))
			checkText(t, text(t, a, report.TextOptions{Width: 1}))
			checkText(t, text(t, a, report.TextOptions{Width: 300, Unicode: true}))
			colours := text(t, a, report.TextOptions{Colour: true})
			checkText(t, withoutColours(colours))
		}
	}
}

func changesOfAllKinds() (list []lifecycle.FileChange) {
	for _, kind := range []string{lifecycle.FileAdded, lifecycle.FileChanged, lifecycle.FileRemoved} {
		for i := range 40 {
			path := fmt.Sprintf("/%s/%s%d/%s", kind, hostile, i%3, hostile)
			list = append(list,
				lifecycle.FileChange{Path: path, Kind: kind, Type: "file", Diff: strings.Repeat("+"+hostile, i%2)},
				lifecycle.FileChange{Path: path + "/", Kind: kind, Type: "directory", Fold: i})
		}
	}
	return list
}

// checkPage holds the page to what the package promises: well-formed, nothing but what it writes itself for elements and attributes, no character that is not seen.
func checkPage(t testing.TB, page []byte) {
	t.Helper()
	wellFormed(t, page)
	elements := map[string]bool{}
	for _, name := range strings.Fields(`html head meta title style body header main footer section nav h1 h2 h3 h4 p b i a span div dl dt dd ul li table
		thead tbody tr th td details summary`) {
		elements[name] = true
	}
	attributes := map[string]bool{}
	for _, name := range strings.Fields("lang charset http-equiv content name class id style open scope href aria-label data-h") {
		attributes[name] = true
	}
	d := xml.NewDecoder(bytes.NewReader(page))
	for {
		token, err := d.Token()
		if err != nil {
			break
		}
		switch token := token.(type) {
		case xml.StartElement:
			if !elements[token.Name.Local] {
				t.Errorf("there is an element %q", token.Name.Local)
			}
			for _, a := range token.Attr {
				if !attributes[a.Name.Local] || strings.ContainsAny(a.Value, "<>\x1b\u202e") || strings.Contains(a.Value, "onerror") {
					t.Errorf("<%s> has %s=%q", token.Name.Local, a.Name.Local, a.Value)
				}
			}
		case xml.Comment, xml.ProcInst:
			t.Errorf("there is a comment or an instruction: %q", token)
		}
	}
	checkCharacters(t, page)
}

func checkCharacters(t testing.TB, data []byte) {
	t.Helper()
	if !utf8.Valid(data) {
		t.Error("there are bytes that are no UTF-8")
	}
	for i, r := range string(data) {
		if !unicode.IsPrint(r) && r != '\n' && r != '\t' {
			t.Fatalf("there is %U, after %q", r, data[max(0, i-80):i])
		}
	}
}

func checkText(t testing.TB, data []byte) {
	t.Helper()
	checkCharacters(t, data)
}

// withoutColours takes out the sequences of our own.
func withoutColours(data []byte) []byte {
	text := string(data)
	for _, code := range []string{"0", "1", "2", "31", "32", "33", "34"} {
		text = strings.ReplaceAll(text, "\x1b["+code+"m", "")
	}
	return []byte(text)
}

// What a script has said is there, as codes.
func TestHostileIsTold(t *testing.T) {
	t.Parallel()
	a := filled(t, "a\x1b[31mb\u202ec\xffd", 1)
	page, plain := string(html(t, a)), string(text(t, a, report.TextOptions{}))
	if want := `a<b class="x">\x1b</b>[31mb<b class="x">\u202e</b>c<b class="x">\xff</b>d`; !strings.Contains(page, want) {
		t.Errorf("the page has no %s", want)
	}
	if want := `| a\x1b[31mb\u202ec\xffd`; !strings.Contains(strings.ReplaceAll(plain, "# ", "| "), want) {
		t.Errorf("the text has no %s:\n%s", want, plain)
	}
}

// An account of any size makes a report of bounded size: the bound is that of the package's own constants, with room for the markup.
func TestBounds(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x<\u202e", 200_000)
	for name, a := range map[string]*lifecycle.Account{
		"long texts": filled(t, long, 1),
		"many rows":  many(t, 20_000, "y"),
		"many paths": paths(50_000),
		"many diffs": diffs(5_000),
		"deep paths": {Rehearsal: true, Files: []lifecycle.FileChange{{Path: strings.Repeat("/d", 200_000), Kind: lifecycle.FileAdded, Type: "file"}}},
	} {
		page, plain := html(t, a), text(t, a, report.TextOptions{})
		const most = 4 << 20
		if len(page) > most || len(plain) > most {
			t.Errorf("%s: the page has %d bytes, the text %d", name, len(page), len(plain))
		}
		checkPage(t, page)
		t.Logf("%s: page %d KiB, text %d KiB", name, len(page)>>10, len(plain)>>10)
	}
}

// many is an account whose lists all have n entries.
func many(t testing.TB, n int, text string) *lifecycle.Account {
	a := filled(t, text, 1)
	grow := func(v reflect.Value) {
		list := reflect.MakeSlice(v.Type(), n, n)
		for i := range n {
			list.Index(i).Set(v.Index(0))
		}
		v.Set(list)
	}
	v := reflect.ValueOf(a).Elem()
	for i := range v.NumField() {
		if v.Field(i).Kind() == reflect.Slice {
			grow(v.Field(i))
		}
	}
	grow(reflect.ValueOf(&a.Events[0].Scripts).Elem())
	grow(reflect.ValueOf(&a.Events[0].Scripts[0].Output).Elem())
	return a
}

// paths is a rehearsal with so many changes as an installation of a framework makes.
func paths(n int) *lifecycle.Account {
	a := &lifecycle.Account{Rehearsal: true, Outcome: lifecycle.OutcomeSucceeded}
	for i := range n {
		c := lifecycle.FileChange{
			Path: fmt.Sprintf("/srv/app/vendor/package-%03d/src/folder-%02d/File%05d.php", i/500, i/25%20, i), Kind: lifecycle.FileAdded, Type: "file",
			By: lifecycle.Install, Is: "0644 root:root 1234 bytes",
		}
		switch i % 50 {
		case 0:
			c.Kind, c.What, c.Was = lifecycle.FileChanged, []string{"content", "mode"}, "0600 root:root 99 bytes"
		case 1:
			c.Kind, c.Was, c.Is, c.ByHook = lifecycle.FileRemoved, c.Is, "", true
		}
		a.Files = append(a.Files, c)
	}
	return a
}

func diffs(n int) *lifecycle.Account {
	a := paths(n)
	for i := range a.Files {
		a.Files[i].Kind, a.Files[i].Diff = lifecycle.FileChanged, strings.Repeat("+added\n-removed\n same\n", 1000)
	}
	return a
}

// No JSON that can be read as an account breaks the page or the text.
func FuzzReport(f *testing.F) {
	small := load(f, "rehearsal")
	small.Files, small.Events, small.Walls, small.Host = small.Files[:3], small.Events[6:7], nil, nil
	small.Events[0].Scripts[0].Output = small.Events[0].Scripts[0].Output[:2]
	data, err := json.Marshal(small)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"rehearsal":true,"files":[{"path":"//../\u0000/","kind":"x","type":"directory","fold":-3},{"path":"","type":"directory"}],"took_ms":-9223372036854775808}`))
	f.Add([]byte(`{"began":"0001-01-01T00:00:00Z","took_ms":9223372036854775807,"events":[{"began":"9999-12-31T23:59:59Z","took_ms":9223372036854775807,"outcome":"failed","scripts":[{"timeout_ms":1,"took_ms":-1}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a := new(lifecycle.Account)
		if json.Unmarshal(data, a) != nil {
			return
		}
		checkPage(t, html(t, a))
		checkText(t, text(t, a, report.TextOptions{}))
		checkText(t, withoutColours(text(t, a, report.TextOptions{Width: 50, Colour: true, Unicode: true})))
	})
}

// No text and no number in every field of an account does.
func FuzzFields(f *testing.F) {
	f.Add(hostile, int64(4), "added")
	f.Add("a\n\tb\r\n", int64(-1), "failed")
	f.Fuzz(func(t *testing.T, field string, number int64, outcome string) {
		a := filled(t, field, number)
		a.Outcome, a.Events[0].Outcome, a.Files[0].Kind = outcome, outcome, outcome
		checkPage(t, html(t, a))
		checkText(t, text(t, a, report.TextOptions{}))
	})
}

func BenchmarkReport(b *testing.B) {
	for name, a := range map[string]*lifecycle.Account{"rehearsal": load(b, "rehearsal"), "50000": paths(50_000)} {
		b.Run(name+"/html", func(b *testing.B) {
			for b.Loop() {
				b.SetBytes(int64(len(html(b, a))))
			}
		})
		b.Run(name+"/text", func(b *testing.B) {
			for b.Loop() {
				b.SetBytes(int64(len(text(b, a, report.TextOptions{}))))
			}
		})
	}
}
