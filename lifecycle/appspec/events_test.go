package appspec

import (
	"errors"
	"strings"
	"testing"
)

// TestCheckEvents holds.
func TestCheckEvents(t *testing.T) {
	eleven := []string{
		"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart", "ValidateService",
		"BeforeBlockTraffic", "AfterBlockTraffic", "BeforeAllowTraffic", "AfterAllowTraffic",
	}
	nine := []string{
		"ApplicationStop", "BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService",
		"BeforeBlockTraffic", "AfterBlockTraffic", "BeforeAllowTraffic", "AfterAllowTraffic",
	}
	with := func(list []string, more ...string) []string { return append(append([]string{}, list...), more...) }
	tests := []struct {
		name, hooks      string
		possible, mapped []string
		want             string
	}{
		{"no list", "{Nonsense: []}", nil, nine, ""},
		{"all known", "{AfterInstall: []}", eleven, nine, ""},
		{"no hooks", "{}", eleven, nine, ""},
		{"Install and DownloadBundle are known", "{Install: [], DownloadBundle: []}", eleven, nine, ""},
		{"1 unknown", "{AfterInstall: [], BeoreInstall: []}", eleven, nine, `5:3: unknown lifecycle event "BeoreInstall"`},
		{"1 unknown, nothing like it", "{AfterInstall: [], Nonsense: []}", eleven, nine, "this deployment has: ApplicationStop, DownloadBundle"},
		{"1 an empty list counts", "{Nonsense: []}", eleven, nine, `unknown lifecycle event "Nonsense"`},
		{"1 null does not count", "{Nonsense: ~}", eleven, nine, ""},
		{"1 key that is no text", "{yes: []}", with(eleven, "true", "yes"), nine, `the event "true" is no text`},
		{"1 mapped, and not possible", "{}", []string{"Install", "AfterInstall"}, nine, "runs the lifecycle event ApplicationStop"},
		{"1 mapped fewer", "{}", []string{"Install", "AfterInstall"}, []string{"AfterInstall"}, ""},
		{"2 custom with a hook", "{Custom: []}", with(eleven, "Custom"), nine, ""},
		{"2 custom without a hook", "{AfterInstall: []}", with(eleven, "Custom"), nine, `asks for the lifecycle event "Custom"`},
		{"2 custom, mapped, without a hook", "{}", with(eleven, "Custom"), with(nine, "Custom"), `asks for the lifecycle event "Custom"`},
		{"1 before 2", "{Nonsense: []}", with(eleven, "Custom"), nine, `unknown lifecycle event "Nonsense"`},
	}
	for _, tt := range tests {
		block := strings.NewReplacer("{", "\n  ", ", ", "\n  ", "}", "\n").Replace(tt.hooks)
		if tt.hooks == "{}" {
			block = " {}\n"
		}
		spec, verdict := verdictOf(t, head+"hooks:"+block)
		if spec == nil {
			t.Fatalf("%s: refused as %s", tt.name, verdict)
		}
		err := CheckEvents(spec, tt.possible, tt.mapped)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
		if _, ok := errors.AsType[*Error](err); err != nil && !ok {
			t.Errorf("%s: %T, want *Error", tt.name, err)
		}
	}
}

// TestCheckEventsText: the whole message for the commonest mistake.
func TestCheckEventsText(t *testing.T) {
	spec, _ := verdictOf(t, head+"hooks:\n  BeoreInstall:\n    - location: a.sh\n")
	const want = `appspec.yml:4:3: unknown lifecycle event "BeoreInstall"
    4 |   BeoreInstall:
      |   ^^^^^^^^^^^^ did you mean BeforeInstall?`
	if err := CheckEvents(spec, []string{"BeforeInstall"}, nil); err == nil || err.Error() != want {
		t.Errorf("got %v, want\n%s", err, want)
	}
}
