package iamtest

import (
	"slices"
	"strings"
	"testing"
)

func statement(rest string) string {
	return `{"Version": "2012-10-17", "Statement": [{"Sid": "S", "Effect": "Allow", "Action": ["s:Do*", "s:Stop"], "Resource": "arn:aws:s:r:1:thing/*"` + rest + `}]}`
}

// One statement, asked with one value of a key, none, or several: the table of operators in IAM's reference.
func TestConditions(t *testing.T) {
	for _, tt := range []struct {
		condition string
		values    []string // of the key k; nil for none
		want      bool
	}{
		{``, nil, true},
		{`"StringEquals": {"k": "a"}`, []string{"a"}, true},
		{`"StringEquals": {"k": "a"}`, []string{"A"}, false},
		{`"StringEquals": {"K": ["b", "a"]}`, []string{"a"}, true}, // keys are of any case, values are alternatives
		{`"StringEquals": {"k": "a*"}`, []string{"ab"}, false},
		{`"StringEquals": {"k": "a"}`, nil, false},
		{`"StringEquals": {"k": "a"}`, []string{"a", "a"}, false},
		{`"StringEqualsIfExists": {"k": "a"}`, nil, true},
		{`"StringEqualsIfExists": {"k": "a"}`, []string{"b"}, false},
		{`"StringEqualsIgnoreCase": {"k": "a"}`, []string{"A"}, true},
		{`"StringLike": {"k": "a?c*"}`, []string{"abcd"}, true},
		{`"StringLike": {"k": "a?c"}`, []string{"ac"}, false},
		{`"StringNotEquals": {"k": ["a", "b"]}`, []string{"c"}, true},
		{`"StringNotEquals": {"k": ["a", "b"]}`, []string{"b"}, false},
		{`"StringNotEquals": {"k": "a"}`, nil, true},
		{`"StringNotLike": {"k": "a*"}`, []string{"ab"}, false},
		{`"Bool": {"k": true}`, []string{"true"}, true},
		{`"Bool": {"k": "true"}`, []string{"false"}, false},
		{`"Bool": {"k": "true"}`, nil, false},
		{`"Null": {"k": "false"}`, []string{""}, true},
		{`"Null": {"k": "false"}`, nil, false},
		{`"Null": {"k": "true"}`, nil, true},
		{`"NumericLessThanEquals": {"k": 2}`, []string{"1"}, true},
		{`"NumericLessThanEquals": {"k": "2"}`, []string{"3"}, false},
		{`"NumericEquals": {"k": "2"}`, []string{"two"}, false},
		{`"ArnLike": {"k": "arn:aws:iam:*:*:role/x"}`, []string{"arn:aws:iam::1:role/x"}, true},
		{`"ArnLike": {"k": "arn:*:role/x"}`, []string{"arn:aws:iam::1:role/x"}, false},
		{`"ForAllValues:StringEquals": {"k": ["a", "b"]}`, []string{"a", "b"}, true},
		{`"ForAllValues:StringEquals": {"k": ["a", "b"]}`, []string{"a", "c"}, false},
		{`"ForAllValues:StringEquals": {"k": "a"}`, nil, true},
		{`"ForAnyValue:StringLike": {"k": "a*"}`, []string{"b", "ab"}, true},
		{`"ForAnyValue:StringLike": {"k": "a*"}`, nil, false},
		{`"StringEquals": {"k": "a"}, "Null": {"other": "true"}`, []string{"a"}, true},
		{`"StringEquals": {"k": "a", "other": "b"}`, []string{"a"}, false}, // all keys have to hold
	} {
		p, err := Parse([]byte(statement(`, "Condition": {` + tt.condition + `}`)))
		if err != nil {
			t.Errorf("%s: %v", tt.condition, err)
			continue
		}
		r := Request{Action: "s:DoIt", Resource: "arn:aws:s:r:1:thing/1", Context: map[string][]string{}}
		if tt.values != nil {
			r.Context["k"] = tt.values
		}
		if got := p.Decide(r).Allowed; got != tt.want {
			t.Errorf("{%s} with %q: %v, want %v", tt.condition, tt.values, got, tt.want)
		}
	}
}

func TestDecide(t *testing.T) {
	p, err := Parse([]byte(`{"Version": "2012-10-17", "Statement": [
		{"Sid": "Most", "Effect": "Allow", "Action": "s:do*", "Resource": "arn:aws:s:r:1:thing/*"},
		{"Sid": "One", "Effect": "Allow", "Action": ["s:Stop", "s:Look"], "Resource": ["arn:aws:s:r:1:thing/1", "*"]},
		{"Sid": "Never", "Effect": "Deny", "Action": "s:*", "Resource": "arn:aws:s:r:1:thing/secret*"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		action, resource string
		want             Decision
	}{
		{"s:DoIt", "arn:aws:s:r:1:thing/9", Decision{true, "Most"}}, // actions are of any case
		{"s:DoIt", "arn:aws:s:r:2:thing/9", Decision{}},
		{"s:DoIt", "arn:aws:s:r:1:Thing/9", Decision{}}, // resources are not
		{"s:DoIt", "arn:aws:s:r:1:thing/secret/9", Decision{false, "Never"}},
		{"s:Look", "*", Decision{true, "One"}},
		{"s:Loo", "*", Decision{}},
		{"t:DoIt", "arn:aws:s:r:1:thing/9", Decision{}},
	} {
		if got := p.Decide(Request{Action: tt.action, Resource: tt.resource}); got != tt.want {
			t.Errorf("%s on %s: %+v, want %+v", tt.action, tt.resource, got, tt.want)
		}
	}
}

// Every part of a policy that no request needs is told, and no other.
func TestUnneeded(t *testing.T) {
	p, err := Parse([]byte(`{"Version": "2012-10-17", "Statement": [
		{"Sid": "A", "Effect": "Allow", "Action": ["s:One", "s:Two"], "Resource": ["x", "y"], "Condition": {"StringEquals": {"k": ["1", "2"]}}},
		{"Sid": "B", "Effect": "Allow", "Action": "s:Three", "Resource": "*"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	asked := []Request{{Action: "s:One", Resource: "y", Context: map[string][]string{"k": {"2"}}}}
	got, want := p.Unneeded(asked), []string{"A s:Two", "A x", "A k 1", "B s:Three", "B *"}
	if !slices.Equal(got, want) {
		t.Errorf("Unneeded() = %q, want %q", got, want)
	}
	if !p.Decide(asked[0]).Allowed || len(p.Statements[0].Actions) != 2 || len(p.Statements[0].Conditions[0].Values) != 2 {
		t.Errorf("the policy has changed: %+v", p)
	}
}

// What cannot be judged is refused, and so is what IAM would not take.
func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		statement(`, "NotAction": "s:X"`):                                                                                       "unknown field",
		statement(`, "Principal": "*"`):                                                                                         "unknown field",
		statement(`, "Condition": {"DateLessThan": {"k": "2020-01-01"}}`):                                                       "is not known here",
		statement(`, "Condition": {"StringEquals": {"k": "${aws:username}"}}`):                                                  "variable",
		statement(`, "Condition": {"StringEquals": {"k": []}}`):                                                                 "has no value",
		strings.Replace(statement(``), "thing/*", "${aws:username}", 1):                                                         "variable",
		strings.Replace(statement(``), "Allow", "Maybe", 1):                                                                     "effect",
		strings.Replace(statement(``), `"Sid": "S", `, "", 1):                                                                   "no Sid",
		strings.Replace(statement(``), "2012-10-17", "2008-10-17", 1):                                                           "version",
		strings.Replace(statement(``), `["s:Do*", "s:Stop"]`, `{}`, 1):                                                          "neither a text nor a list",
		`{"Version": "2012-10-17", "Statement": []}`:                                                                            "0 statements",
		strings.Replace(statement(``), "}]}", "}, "+strings.TrimSuffix(strings.SplitN(statement(``), "[", 2)[1], "]}")+"]}", 1): "two statements",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
