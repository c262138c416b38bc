package lifecycle

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestGate(t *testing.T) {
	unfit := errors.New("answered 500")
	b := newBench(t, nil)
	b.put("k", map[string]string{"appspec.yml": b.appspecOf("ValidateService=s.sh", "AfterInstall=s.sh"), "content/f": "", "s.sh": proofScript})
	b.put("plain", map[string]string{"appspec.yml": b.appspecOf(), "content/f": ""})
	b.put("bad", map[string]string{"appspec.yml": b.appspecOf("ValidateService=s.sh"), "content/f": "", "s.sh": "#!/bin/sh\nexit 1\n"})
	asked := 0
	set := func(answer error) {
		b.Set(Settings{Gate: func(context.Context) error { asked++; return answer }, Environ: []string{"OUT=" + b.dir}})
	}
	for _, key := range []string{"k", "plain", "bad"} {
		if r := b.do(DownloadBundle, b.spec("d-"+key, key)); r.Code != Succeeded {
			t.Fatal(r)
		}
	}
	plain, err := ParseDeployment(b.spec("d-plain", "plain"))
	if err != nil {
		t.Fatal(err)
	}
	if noop, err := b.Noop(plain, ValidateService); !noop || err != nil {
		t.Errorf("without a gate ValidateService of an appspec without scripts: noop %v, %v", noop, err)
	}
	set(nil)
	if noop, err := b.Noop(plain, ValidateService); noop || err != nil {
		t.Errorf("with a gate: noop %v, %v: the service would not have it carried out", noop, err)
	}
	if noop, err := b.Noop(plain, AfterInstall); !noop || err != nil {
		t.Errorf("with a gate AfterInstall: noop %v, %v", noop, err)
	}
	tests := []struct {
		key    string
		event  Event
		answer error
		code   Code
		asked  int
		text   string
	}{
		{"k", ValidateService, nil, Succeeded, 1, "; the application is fit for traffic"},
		{"plain", ValidateService, nil, Succeeded, 1, "; the application is fit for traffic"},
		{"k", ValidateService, unfit, UnknownError, 1, "the scripts of ValidateService succeeded, but answered 500 (health.gate)"},
		{"bad", ValidateService, nil, ScriptFailed, 0, "exit code 1"},
		{"k", AfterInstall, unfit, Succeeded, 0, "AfterInstall"},
	}
	for _, tt := range tests {
		set(tt.answer)
		asked = 0
		r := b.do(tt.event, b.spec("d-"+tt.key, tt.key))
		if r.Code != tt.code || asked != tt.asked || !strings.Contains(r.Message+r.Log, tt.text) {
			t.Errorf("%s of %s: asked %d times, %+v, want code %d, asked %d, %q", tt.event, tt.key, asked, r, tt.code, tt.asked, tt.text)
		}
	}

	// The stop of the program while the gate waits is no failure.
	ctx, cancel := context.WithCancel(t.Context())
	b.Set(Settings{Environ: []string{"OUT=" + b.dir}, Gate: func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() }})
	ticket, err := b.Accept("command-stop", "x", ValidateService, b.spec("d-plain", "plain"))
	if err != nil {
		t.Fatal(err)
	}
	if r := b.Run(ctx, ticket); !r.Suspended() {
		t.Errorf("stopped at the gate: %+v, want a suspended result", r)
	}
}
