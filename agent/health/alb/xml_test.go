package alb

import "testing"

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{"", "<a>", "<a><b>c</b></a>", "<a/>x", "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>", "<a xmlns='x'><member><Id>i</Id></member></a>"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := parseXML(data)
		if (n == nil) == (err == nil) {
			t.Errorf("parseXML() = %v, %v", n, err)
		}
		n.at("a", "b").number("c")
	})
}
