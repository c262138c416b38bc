package lifecycle

import (
	"strings"
	"testing"
)

// V-107, V-108: refused only where it is configured, at the first event of the deployment, and at Install all the same.
func TestPolicy(t *testing.T) {
	both := Policy{RejectSetID: true, RejectUnconfined: true}
	for _, tt := range []struct {
		name, permission string
		policy           Policy
		says             string
	}{
		{"set-id mode", "mode: '4755'", both, "has a set-id bit"},
		{"sticky mode", "mode: '1755'", both, ""},
		{"set-id mode, not configured", "mode: '4755'", Policy{RejectUnconfined: true}, ""},
		{"unconfined type", "context: {type: unconfined_t, range: s0}", both, "confines nothing"},
		{"another type", "context: {type: httpd_sys_content_t, range: s0}", both, ""},
		{"unconfined type, not configured", "context: {type: init_t, range: s0}", Policy{RejectSetID: true}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, off := range []bool{false, true} {
				b := newBench(t, func(o *Options) { o.Settings.Policy, o.Settings.NoPreflight = tt.policy, off })
				b.put("k", map[string]string{
					"appspec.yml": b.appspecOf() + "permissions:\n  - object: " + b.site + "\n    " + tt.permission + "\n", "content/f": "1",
				})
				spec, list := b.spec("d-1", "k"), []Event{ApplicationStop, DownloadBundle, Install}
				var r Result
				for _, ev := range list {
					if r = b.do(ev, spec); r.Code != Succeeded {
						break
					}
				}
				if (r.Code == Succeeded) != (tt.says == "") || !strings.Contains(r.Message, tt.says) || exists(b.site) != (tt.says == "") {
					t.Errorf("preflight off %v: %+v, want %q", off, r, tt.says)
				}
			}
		})
	}
}
