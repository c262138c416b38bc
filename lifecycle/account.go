package lifecycle

import "time"

// Account is what became of a deployment, or of the rehearsal of one, as a person or a script reads it afterwards: the one value that
// a rehearsal makes, that AccountOf makes of what is on disk, and that a report shows. Times are UTC; durations are in milliseconds, as
// their names say. Of a real deployment nobody has watched the host, so that Processes, Listeners and the like are of rehearsals alone.
type Account struct {
	Rehearsal   bool   `json:"rehearsal"`
	Deployment  string `json:"deployment"`
	Group       string `json:"group"`
	GroupName   string `json:"group_name,omitempty"`
	Application string `json:"application,omitempty"`
	Revision    string `json:"revision"`       // as bundle.Revision prints it
	From        string `json:"from,omitempty"` // the revision that was there before
	Kind        string `json:"kind,omitempty"` // of deployment, as Kinds names it
	Local       bool   `json:"local"`          // no command of the service

	Outcome string    `json:"outcome"` // succeeded, failed, interrupted
	State   string    `json:"state"`   // what it left of the host, in one sentence
	Began   time.Time `json:"began"`
	TookMS  int64     `json:"took_ms"`
	// OverheadMS is what a rehearsal cost beyond its events: the sandbox and the difference.
	OverheadMS int64 `json:"overhead_ms,omitempty"`

	Host     []Fact         `json:"host"`            // facts of the host that a reader may need, in order
	Walls    []Fact         `json:"walls,omitempty"` // of a rehearsal: what the sandbox was made of
	Findings []Finding      `json:"findings"`        // of the linter
	Events   []EventAccount `json:"events"`

	// What the rehearsal made of the copy of the host. Of a real deployment, FilesRecorded says that it is what Install has changed, as it noted
	// itself: what scripts have changed on the host is not known.
	FilesRecorded bool          `json:"files_recorded,omitempty"`
	Files         []FileChange  `json:"files"`                   // in the order of their paths; at most as many as were asked for
	FilesOmitted  int           `json:"files_omitted,omitempty"` // beyond that
	Processes     []LeftProcess `json:"processes,omitempty"`
	Listeners     []Listener    `json:"listeners,omitempty"`
	Users         []string      `json:"users,omitempty"`    // lines such as "user deploy added (uid 1001, home /home/deploy)"
	Cron          []string      `json:"cron,omitempty"`     // likewise
	Packages      []string      `json:"packages,omitempty"` // likewise
	Services      []ServiceCall `json:"services,omitempty"`
	Destinations  []Destination `json:"destinations,omitempty"`

	HealthBefore []ProbeAccount `json:"health_before,omitempty"`
	HealthAfter  []ProbeAccount `json:"health_after,omitempty"`

	Prediction *Prediction `json:"prediction,omitempty"` // what was said beforehand against what was done
	Notes      []string    `json:"notes,omitempty"`
}

// Fact is a name and a value.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Finding is one of the linter's.
type Finding struct {
	ID       string `json:"id"`
	Severity string `json:"severity"` // error, warning, info
	Place    string `json:"place"`    // file:line:column, as far as there is one
	Message  string `json:"message"`
	Advice   string `json:"advice,omitempty"`
}

// EventAccount is one lifecycle event.
type EventAccount struct {
	Event   Event           `json:"event"`
	Whose   string          `json:"whose,omitempty"` // whose revision's scripts ran (H-3, H-4)
	Began   time.Time       `json:"began"`
	TookMS  int64           `json:"took_ms"`
	Outcome string          `json:"outcome"` // succeeded, failed, interrupted, skipped
	Code    Code            `json:"code"`
	Message string          `json:"message,omitempty"`
	Nothing string          `json:"nothing,omitempty"` // why no script ran
	Scripts []ScriptAccount `json:"scripts,omitempty"`
}

// ScriptAccount is one run of a script.
type ScriptAccount struct {
	Script    string    `json:"script"`
	RunAs     string    `json:"run_as"` // empty: the user of the agent
	Began     time.Time `json:"began"`
	TookMS    int64     `json:"took_ms"`
	TimeoutMS int64     `json:"timeout_ms,omitempty"`
	Code      Code      `json:"code"`
	Exit      int       `json:"exit"` // -1: none
	Signal    string    `json:"signal,omitempty"`
	Message   string    `json:"message,omitempty"`
	Notes     []string  `json:"notes,omitempty"`
	// Output is what it said, oldest line first; Omitted counts the lines in the middle that were left out.
	Output  []OutputLine `json:"output,omitempty"`
	Omitted int64        `json:"omitted,omitempty"`
}

// OutputLine is one line of a script's output, secrets already taken out.
type OutputLine struct {
	At     time.Time `json:"at"`
	Stream string    `json:"stream"` // stdout, stderr, agent
	Text   string    `json:"text"`
}

// How a path has changed.
const (
	FileAdded   = "added"
	FileChanged = "changed"
	FileRemoved = "removed"
)

// FileChange is a path of the host that is not what it was.
type FileChange struct {
	Path string `json:"path"`
	Kind string `json:"kind"` // FileAdded, FileChanged, FileRemoved
	Type string `json:"type"` // file, directory, link, fifo, socket, device: what it is now, or was
	// By is who changed it: an Event; ByHook tells whether a script of that event did, and not the agent itself.
	By     Event `json:"by,omitempty"`
	ByHook bool  `json:"by_hook"`
	// What has changed: content, mode, owner, acl, xattr, type, link; rewritten for a file that another one of its size has taken the place of
	// and that was not compared with it. Of added and removed paths it is empty.
	What []string `json:"what,omitempty"`
	// Was and Is describe both sides as "0644 root:root 1234 bytes"; empty where there is none.
	Was string `json:"was,omitempty"`
	Is  string `json:"is,omitempty"`
	// Diff is a unified difference of a small text file, secrets taken out.
	Diff string `json:"diff,omitempty"`
	// Aside is true where what was there had been changed on this host since an installation put it there: Install has kept it aside.
	Aside bool `json:"aside,omitempty"`
	// Fold is not 0 for a directory that stands for that many paths below it, all added or all removed by the same event.
	Fold int `json:"fold,omitempty"`
}

// LeftProcess is one that runs at the end.
type LeftProcess struct {
	PID     int      `json:"pid"`
	User    string   `json:"user"`
	Command string   `json:"command"`
	By      Event    `json:"by,omitempty"`      // the event that it was started in
	Listens []string `json:"listens,omitempty"` // "tcp 0.0.0.0:80"
}

// Listener is a port or socket that is listened on at the end.
type Listener struct {
	Network string `json:"network"` // tcp, udp, unix
	Address string `json:"address"`
	PID     int    `json:"pid,omitempty"`
	Command string `json:"command,omitempty"`
}

// ServiceCall is one call of a service manager that the recorder has answered.
type ServiceCall struct {
	At     time.Time `json:"at"`
	By     Event     `json:"by,omitempty"`
	Call   string    `json:"call"`   // "systemctl restart httpd"
	Answer string    `json:"answer"` // "recorded", "started for real: apache2 (pid 12)", "no such service"
	Exit   int       `json:"exit"`
}

// Destination is somewhere that a process tried to reach over the network.
type Destination struct {
	By      Event  `json:"by,omitempty"`
	Network string `json:"network"` // tcp, udp, icmp, dns
	Address string `json:"address"` // host:port, or the name that was asked for
	Count   int    `json:"count"`
}

// ProbeAccount is the answer to one probe of the application.
type ProbeAccount struct {
	Name   string `json:"name"`
	Target string `json:"target"`
	OK     bool   `json:"ok"`
	Text   string `json:"text"`
	TookMS int64  `json:"took_ms"`
}

// Prediction holds what was planned against what was done.
type Prediction struct {
	Planned int `json:"planned"` // paths that the plan named
	Met     int `json:"met"`     // those that became what it said
	// Missed are those that did not, and Unplanned what Install did that no plan had named: each would be a mistake of ours.
	Missed    []string `json:"missed,omitempty"`
	Unplanned []string `json:"unplanned,omitempty"`
	// Hooks counts the changes that scripts made, which no plan can name; Overridden are planned paths that a script changed again.
	Hooks      int      `json:"hooks"`
	Overridden []string `json:"overridden,omitempty"`
	// Events is empty if the deployment ended as it was foreseen; else it says what was foreseen and what came.
	Events string `json:"events,omitempty"`
}
