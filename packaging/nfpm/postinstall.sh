#!/bin/sh
# Enabled, never started by the installation of an image: a bake must not take deployments. An upgrade restarts a running agent at once, which
# loses nothing: a hook stays with its shim, an installation is finished or taken up from its journal.
set -e

# dpkg: configure OLD-VERSION, see preinstall.sh; rpm: 1 for an installation, 2 for an upgrade.
case "$1" in
configure)
	if [ -z "$2" ] || [ -e /run/slipway-returns ]; then first=1; fi
	rm -f /run/slipway-returns
	;;
1) first=1 ;;
2) ;;
*) exit 0 ;;
esac

command -v systemctl >/dev/null 2>&1 || exit 0
booted() { [ -d /run/systemd/system ]; }

if booted; then systemctl daemon-reload || :; fi
if [ "$first" ]; then
	# Works on a tree without a running systemd as well. A preset of the site that says "disable" is heeded.
	systemctl preset slipway.service >/dev/null 2>&1 || systemctl enable slipway.service >/dev/null 2>&1 || :
fi
if command -v systemd-tmpfiles >/dev/null 2>&1; then systemd-tmpfiles --create slipway.conf >/dev/null 2>&1 || :; fi
if [ -z "$first" ] && booted; then systemctl try-restart slipway.service || :; fi
exit 0
