#!/bin/sh
# dpkg keeps the configuration of a package that was removed, and calls its return "configure OLD-VERSION" afterwards, as it does an upgrade. Only here it
# says what it is. The removal has disabled the service, so its return enables it, as a first installation does.
set -e

if [ "$1" = install ]; then : >/run/slipway-returns; fi
exit 0
