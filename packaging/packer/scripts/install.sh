# Installs the agent's package from SLIPWAY_PACKAGE with the package manager of the image.
: "${SLIPWAY_PACKAGE:?names the package}"
case $SLIPWAY_PACKAGE in
*.rpm)
	if command -v dnf >/dev/null 2>&1; then dnf -y -q install "$SLIPWAY_PACKAGE"; else yum -y -q install "$SLIPWAY_PACKAGE"; fi
	;;
*.deb) DEBIAN_FRONTEND=noninteractive apt-get -y -q install "$SLIPWAY_PACKAGE" ;;
*)
	echo "$SLIPWAY_PACKAGE is neither an rpm nor a deb" >&2
	exit 1
	;;
esac
rm -f "$SLIPWAY_PACKAGE"
slipway version
# Enabled for the first boot of the image, not running now.
systemctl is-enabled slipway.service
if systemctl is-active --quiet slipway.service; then
	echo "the agent runs although /etc/slipway/hold is there" >&2
	exit 1
fi
