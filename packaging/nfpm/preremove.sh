#!/bin/sh
# Only a removal stops the agent; an upgrade restarts it afterwards.
set -e

# dpkg: remove | upgrade …; rpm: 0 for a removal, 1 for an upgrade.
case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac

command -v systemctl >/dev/null 2>&1 || exit 0
if [ -d /run/systemd/system ]; then
	systemctl disable --now slipway.service >/dev/null 2>&1 || :
else
	systemctl disable slipway.service >/dev/null 2>&1 || :
fi
exit 0
