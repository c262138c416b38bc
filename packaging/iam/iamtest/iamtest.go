// Package iamtest judges requests by a policy as IAM does, for the tests that hold the policies of packaging/iam against the calls that are
// really made. It knows identity policies of Allow and Deny statements with actions, resources and conditions; what it does not know (policy
// variables, NotAction, NotResource, principals, operators for dates and addresses) is an error when a policy is read, never a guess.
package iamtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Policy is one document.
type Policy struct {
	Statements []Statement
}

// Statement is one of a policy's. Actions and Resources are patterns.
type Statement struct {
	Sid, Effect string
	Actions     []string
	Resources   []string
	Conditions  []Condition // all of them have to hold
}

// Condition is one key of a condition block: the operator as it is written, such as "ForAllValues:StringLike".
type Condition struct {
	Operator, Key string
	Values        []string
}

// Request is one action on one resource. A call that touches several resources is several requests, and all have to be allowed.
type Request struct {
	Action   string              // such as "ec2:RunInstances"
	Resource string              // an ARN, "*" where the action has no resource
	Context  map[string][]string // condition keys that the request has, in any case; those with one value have one
}

func (r Request) String() string { return r.Action + " on " + r.Resource }

// Decision says whether a request is allowed, and the statement that decided; it is empty where none did, which is a denial.
type Decision struct {
	Allowed bool
	Sid     string
}

// Read reads a policy of a file. The words are pairs, of a placeholder in it and what takes its place.
func Read(path string, words ...string) (*Policy, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p, err := Parse([]byte(strings.NewReplacer(words...).Replace(string(data))))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// Parse reads a policy. Every statement must have a Sid of its own.
func Parse(data []byte) (*Policy, error) {
	var raw struct {
		Version   string
		Statement []struct {
			Sid, Effect      string
			Action, Resource list
			Condition        map[string]map[string]list
		}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&raw); err != nil {
		return nil, err
	}
	if raw.Version != "2012-10-17" || len(raw.Statement) == 0 {
		return nil, fmt.Errorf("version %q with %d statements", raw.Version, len(raw.Statement))
	}
	p := &Policy{}
	for _, r := range raw.Statement {
		s := Statement{Sid: r.Sid, Effect: r.Effect, Actions: r.Action, Resources: r.Resource}
		for operator, keys := range r.Condition {
			for key, values := range keys {
				s.Conditions = append(s.Conditions, Condition{operator, key, values})
			}
		}
		slices.SortFunc(s.Conditions, func(a, b Condition) int { return strings.Compare(a.Operator+a.Key, b.Operator+b.Key) })
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("statement %q: %w", s.Sid, err)
		}
		if slices.ContainsFunc(p.Statements, func(o Statement) bool { return o.Sid == s.Sid }) {
			return nil, fmt.Errorf("two statements are called %q", s.Sid)
		}
		p.Statements = append(p.Statements, s)
	}
	return p, nil
}

func (s Statement) check() error {
	switch {
	case s.Sid == "":
		return errors.New("it has no Sid")
	case s.Effect != "Allow" && s.Effect != "Deny":
		return fmt.Errorf("its effect is %q", s.Effect)
	case len(s.Actions) == 0 || len(s.Resources) == 0:
		return errors.New("it has no actions or no resources")
	}
	for _, text := range slices.Concat(s.Actions, s.Resources) {
		if strings.Contains(text, "${") {
			return fmt.Errorf("%s has a variable, which is not known here", text)
		}
	}
	for _, c := range s.Conditions {
		if _, known := operators[c.base()]; !known || len(c.Values) == 0 {
			return fmt.Errorf("the condition %s of %s is not known here or has no value", c.Operator, c.Key)
		}
		for _, v := range c.Values {
			if strings.Contains(v, "${") {
				return fmt.Errorf("%s has a variable, which is not known here", v)
			}
		}
	}
	return nil
}

// Decide judges a request: a Deny that matches wins, else an Allow that matches, else it is denied.
func (p *Policy) Decide(r Request) Decision {
	d := Decision{}
	for _, s := range p.Statements {
		if !s.matches(r) {
			continue
		}
		if s.Effect == "Deny" {
			return Decision{false, s.Sid}
		}
		if !d.Allowed {
			d = Decision{true, s.Sid}
		}
	}
	return d
}

func (s Statement) matches(r Request) bool {
	return slices.ContainsFunc(s.Actions, func(pattern string) bool { return Glob(strings.ToLower(pattern), strings.ToLower(r.Action)) }) &&
		slices.ContainsFunc(s.Resources, func(pattern string) bool { return Glob(pattern, r.Resource) }) &&
		!slices.ContainsFunc(s.Conditions, func(c Condition) bool { return !c.holds(r.Context) })
}

// operators compare what a request has with what a policy wants. Null is another thing: it asks whether there is a value.
var operators = map[string]func(want, got string) bool{
	"StringEquals":           func(want, got string) bool { return want == got },
	"StringEqualsIgnoreCase": strings.EqualFold,
	"StringLike":             Glob,
	"StringNotEquals":        func(want, got string) bool { return want == got },
	"StringNotLike":          Glob,
	"ArnEquals":              arnLike, // IAM takes patterns for both
	"ArnLike":                arnLike,
	"Bool":                   strings.EqualFold,
	"NumericEquals":          numeric(func(want, got float64) bool { return got == want }),
	"NumericLessThanEquals":  numeric(func(want, got float64) bool { return got <= want }),
	"Null":                   nil,
}

func (c Condition) base() string {
	_, base, qualified := strings.Cut(c.Operator, ":")
	if !qualified {
		base = c.Operator
	}
	return strings.TrimSuffix(base, "IfExists")
}

func (c Condition) holds(context map[string][]string) bool {
	var got []string
	for key, values := range context {
		if strings.EqualFold(key, c.Key) {
			got = values
		}
	}
	if c.base() == "Null" {
		return strings.EqualFold(c.Values[0], strconv.FormatBool(len(got) == 0))
	}
	one := func(value string) bool {
		met := slices.ContainsFunc(c.Values, func(want string) bool { return operators[c.base()](want, value) })
		return met != strings.Contains(c.base(), "Not")
	}
	switch set, _, _ := strings.Cut(c.Operator, ":"); {
	case set == "ForAllValues": // holds for a request without the key, which makes it dangerous alone
		return !slices.ContainsFunc(got, func(v string) bool { return !one(v) })
	case set == "ForAnyValue":
		return slices.ContainsFunc(got, one)
	case len(got) == 0: // a negated comparison holds where there is nothing to compare
		return strings.HasSuffix(c.Operator, "IfExists") || strings.Contains(c.base(), "Not")
	case len(got) > 1: // a key with several values needs a set operator
		return false
	default:
		return one(got[0])
	}
}

// Unneeded is what of a policy is not needed to allow some requests: each action, resource and value of a condition without which all of them are
// allowed as before, after the Sid of its statement and a space. That of a condition is "KEY VALUE".
func (p *Policy) Unneeded(asked []Request) []string {
	var all []string
	try := func(what string, less *Policy) {
		if !slices.ContainsFunc(asked, func(r Request) bool { return !less.Decide(r).Allowed }) {
			all = append(all, what)
		}
	}
	for i, s := range p.Statements {
		for j, action := range s.Actions {
			try(s.Sid+" "+action, p.With(i, func(s *Statement) { s.Actions = slices.Delete(slices.Clone(s.Actions), j, j+1) }))
		}
		for j, resource := range s.Resources {
			try(s.Sid+" "+resource, p.With(i, func(s *Statement) { s.Resources = slices.Delete(slices.Clone(s.Resources), j, j+1) }))
		}
		for j, c := range s.Conditions {
			for k, value := range c.Values {
				try(s.Sid+" "+c.Key+" "+value, p.With(i, func(s *Statement) {
					s.Conditions = slices.Clone(s.Conditions)
					s.Conditions[j].Values = slices.Delete(slices.Clone(c.Values), k, k+1)
				}))
			}
		}
	}
	return all
}

// With is the policy with one statement changed. What the function changes in place has to be a copy.
func (p *Policy) With(i int, change func(*Statement)) *Policy {
	other := &Policy{Statements: slices.Clone(p.Statements)}
	change(&other.Statements[i])
	return other
}

// Glob reports whether a text matches a pattern in which * stands for any characters and ? for one.
func Glob(pattern, text string) bool {
	for pattern != "" {
		switch {
		case pattern[0] == '*':
			pattern = strings.TrimLeft(pattern, "*")
			for i := 0; i <= len(text); i++ {
				if Glob(pattern, text[i:]) {
					return true
				}
			}
			return false
		case text == "" || pattern[0] != '?' && pattern[0] != text[0]:
			return false
		}
		pattern, text = pattern[1:], text[1:]
	}
	return text == ""
}

// arnLike compares the parts between the first five colons each for itself: a * does not reach over one.
func arnLike(want, got string) bool {
	w, g := strings.SplitN(want, ":", 6), strings.SplitN(got, ":", 6)
	if len(w) != 6 || len(g) != 6 {
		return false
	}
	for i := range w {
		if !Glob(w[i], g[i]) {
			return false
		}
	}
	return true
}

func numeric(holds func(want, got float64) bool) func(want, got string) bool {
	return func(want, got string) bool {
		w, err := strconv.ParseFloat(want, 64)
		g, err2 := strconv.ParseFloat(got, 64)
		return err == nil && err2 == nil && holds(w, g)
	}
}

// list is written as one string or as several.
type list []string

func (l *list) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		return json.Unmarshal(data, (*[]string)(l))
	}
	var one any
	if err := json.Unmarshal(data, &one); err != nil {
		return err
	}
	switch one := one.(type) {
	case string:
		*l = list{one}
	case bool:
		*l = list{strconv.FormatBool(one)}
	case float64:
		*l = list{strconv.FormatFloat(one, 'f', -1, 64)}
	default:
		return fmt.Errorf("%s is neither a text nor a list of texts", data)
	}
	return nil
}
