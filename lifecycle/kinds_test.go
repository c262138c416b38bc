package lifecycle

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The sequences of the service, and whose scripts run in them (H-3, H-4).
func TestKinds(t *testing.T) {
	const (
		install = "ApplicationStop:last DownloadBundle BeforeInstall:this Install AfterInstall:this ApplicationStart:this ValidateService:this"
		allow   = "BeforeAllowTraffic:this AllowTraffic AfterAllowTraffic:this"
		block   = "BeforeBlockTraffic:last BlockTraffic AfterBlockTraffic:last"
	)
	want := map[string][]string{
		"in-place":      {install},
		"in-place-lb":   {block + " " + install + " " + allow},
		"blue-green":    {install, allow, block},
		"rollback":      {install, "BeforeAllowTraffic:last AllowTraffic AfterAllowTraffic:last", "BeforeBlockTraffic:recent BlockTraffic AfterBlockTraffic:recent"},
		"asg-launch":    {install + " " + allow},
		"asg-terminate": {block + " ApplicationStop:last"},
	}
	short := map[string]string{"": "", thisRevision.String(): ":this", lastSuccessful.String(): ":last", mostRecent.String(): ":recent"}
	got := map[string][]string{}
	for _, k := range Kinds() {
		if k.Title == "" || k.About == "" || k.Ends == "" {
			t.Errorf("%s is not told of", k.Name)
		}
		for _, p := range k.Phases {
			var steps []string
			for _, s := range p.Steps {
				steps = append(steps, string(s.Event)+short[s.Whose])
				if s.Does == "" || s.Traffic == "" || s.Failure == "" {
					t.Errorf("%s: %s of %s is not told of: %+v", k.Name, s.Event, p.Title, s)
				}
				if s.Event.ByService() == s.Event.Known() {
					t.Errorf("%s: %s has to be the agent's or the service's", k.Name, s.Event)
				}
			}
			got[k.Name] = append(got[k.Name], strings.Join(steps, " "))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Kinds() (-want +got):\n%s", diff)
	}
}

// What a plan of a kind goes by: the events of the first hosts, without the service's.
func TestEventsOfKinds(t *testing.T) {
	for _, k := range Kinds() {
		list := k.Events()
		if slices.ContainsFunc(list, Event.ByService) || k.Installs() != (k.Name != "asg-terminate") {
			t.Errorf("%s: %v", k.Name, list)
		}
		if k.Name == "blue-green" && len(list) != len(UndoEvents())+2 {
			t.Errorf("blue-green on the replacement fleet: %v", list)
		}
	}
}
