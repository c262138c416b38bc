package hooks

import "context"

// Container is where runs live and what makes it possible to end one whole. Without one a run is held together by its
// process group and by the shim being a child subreaper, which a script can leave only by handing work to another service.
type Container interface {
	// Enter puts the shim, which has not started anything yet, into its place for the run called name, and says where the
	// script goes. On an error the run goes on without a container, and says so.
	Enter(ctx context.Context, name string, shim int) (Place, error)
	// Leave tidies up after the shim has ended. What the script left running there goes on.
	Leave(Place) error
}

// Kinds of Place.
const (
	PlaceNone    = ""        // process group and subreaper
	PlaceCgroup2 = "cgroup2" // Hook is a cgroup of the script's own
	PlaceCgroup1 = "cgroup1" // Hook is a cgroup that shim and script share; all in it but the shim is the script's
)

// Place tells the shim where the script lives.
type Place struct {
	Kind string `json:"kind,omitempty"`
	Hook string `json:"hook,omitempty"` // absolute path of the cgroup's folder
	Shim string `json:"shim,omitempty"` // that of the shim's own, for PlaceCgroup2
}
