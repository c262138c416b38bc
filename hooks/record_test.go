package hooks

import (
	"encoding/json"
	"testing"
)

func FuzzResult(f *testing.F) {
	for _, seed := range []string{
		`{"version":1,"script":"a.sh","exit":0,"excerpt":{"lines":1,"bytes":2}}`,
		`{"version":1,"script":"a.sh","run_as":"u","kind":"failed","detail":"failed with exit code 3","took":12,"exit":3}`,
		`{"version":1,"kind":"timed-out","exit":-1,"signal":"SIGKILL","left":[{"pid":1,"command":"x"}],"holders":[{"pid":1,"stream":"stdout","fd":1}]}`,
		`{"version":1,"path":"/a","name":"a","timeout":1000000000,"grace":1,"header":["x"]}`,
		`{"version":1,"boot_id":"x","pid":12,"start_time":18446744073709551615,"at":"2024-05-01T10:00:00Z","place":{"kind":"cgroup2"}}`,
		`{"version":2}`, `{}`, `[]`, ``, `{"version":1,"exit":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := decodeResult(data); err == nil {
			if r.Err == nil && (r.Exit != 0 || r.Signal != "") {
				t.Errorf("success with exit %d, signal %q", r.Exit, r.Signal)
			}
			o, err := outcomeOf(r)
			if err != nil {
				t.Fatal(err)
			}
			again, err := json.Marshal(o)
			if err != nil {
				t.Skip("a time that JSON cannot hold")
			}
			second, err := decodeResult(again)
			if err != nil {
				t.Fatalf("decode what was encoded: %v", err)
			}
			if kindOf(second.Err) != kindOf(r.Err) || second.Exit != r.Exit {
				t.Errorf("round trip: %v, want %v", second, r)
			}
			if n := len(r.Report(500)); n > 500 {
				t.Errorf("report of %d bytes, want at most 500", n)
			}
		}
		_, _ = decodeOrder(data)
		_, _ = decodeBegan(data)
		_, _ = parseStat(data)
		_, _, _ = decodeBrief(data)
	})
}
