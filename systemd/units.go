package systemd

import _ "embed" // the unit files

// Names of the files below, as they are installed.
const (
	UnitName     = "slipway.service"
	SliceName    = "slipway-hooks.slice"
	PresetName   = "90-slipway.preset"
	TmpfilesName = "slipway.conf"
	// HoldFile keeps the service from starting while it exists, for example while an image is being made.
	HoldFile = "/etc/slipway/hold"
)

var (
	// Unit is the service, for /usr/lib/systemd/system.
	//go:embed slipway.service
	Unit string
	// Slice is where the scopes of running hooks live, for /usr/lib/systemd/system.
	//go:embed slipway-hooks.slice
	Slice string
	// Preset enables the service when it is installed, for /usr/lib/systemd/system-preset.
	//go:embed 90-slipway.preset
	Preset string
	// Tmpfiles are the folders made at boot, for /usr/lib/tmpfiles.d.
	//go:embed slipway.conf
	Tmpfiles string
)
