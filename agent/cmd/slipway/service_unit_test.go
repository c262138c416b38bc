package main

import "testing"

func TestCommandLine(t *testing.T) {
	for _, tt := range []struct {
		words []string
		want  string
	}{
		{[]string{"/usr/bin/slipway", "run"}, "/usr/bin/slipway run"},
		{[]string{"/opt/slipway-1.0/bin/slipway", "run", "--config", "/etc/slipway/slipway.yml"}, "/opt/slipway-1.0/bin/slipway run --config /etc/slipway/slipway.yml"},
		{[]string{"/a b/slipway", "run", ""}, `"/a b/slipway" run ""`},
		{[]string{"/100%/$x", "100%", "$x"}, `"/100%%/$x" "100%%" "$$x"`},
		{[]string{"/s", `say "no" \n`, "a\nb\x7f", "{{Path}}", "it's; #no"}, `/s "say \x22no\x22 \x5cn" "a\x0ab\x7f" "\x7b\x7bPath\x7d\x7d" "it's; #no"`},
		{[]string{"/s", "größe"}, `/s "größe"`},
	} {
		if got := commandLine(tt.words); got != tt.want {
			t.Errorf("commandLine(%q) = %s, want %s", tt.words, got, tt.want)
		}
	}
}
