# Brings PHP, httpd and all that the application needs to the profile. A second run must find nothing to do: that is what is checked.
: "${SLIPWAY_PROFILE:?names the profile}"
slipway provision apply --profile "$SLIPWAY_PROFILE"
slipway provision verify --profile "$SLIPWAY_PROFILE"
install -D -m 0644 "$SLIPWAY_PROFILE" /etc/slipway/provision.yml
rm -f "$SLIPWAY_PROFILE"
