#!/bin/sh
# ApplicationStart: the web server runs and has read the new revision. A running one is reloaded gracefully: no request is lost.
#
# TINITTER_HTTPD names a web server of its own, e.g. "apache2 -f /srv/demo/httpd.conf"; else the machine's is used.
set -eu
. "$(dirname "$0")/common.sh"

reload_unit() {
  if systemctl is-active -q "$1"; then
    systemctl reload "$1"
    say "reloaded $1"
  else
    systemctl start "$1"
    say "started $1"
  fi
}

PATH=$PATH:/usr/sbin:/sbin
if [ -n "${TINITTER_HTTPD:-}" ]; then
  # Words of the setting are words of the command line.
  # shellcheck disable=SC2086
  {
    $TINITTER_HTTPD -t </dev/null || die "the configuration of $TINITTER_HTTPD is not valid: see above; the running server is left as it is"
    # graceful starts a server that does not run.
    $TINITTER_HTTPD -k graceful </dev/null
  }
  say "$TINITTER_HTTPD runs with the new revision"
elif [ -d /run/systemd/system ]; then
  if systemctl cat httpd.service >/dev/null 2>&1; then unit=httpd; else unit=apache2; fi
  for fpm in $(systemctl list-units --plain --no-legend --type=service --state=active 'php*-fpm.service' | awk '{print $1}'); do
    reload_unit "$fpm"
  done
  reload_unit "$unit"
else
  for control in apachectl apache2ctl httpd none; do
    command -v "$control" >/dev/null 2>&1 && break
  done
  [ "$control" != none ] || die "no web server found: install httpd or apache2, or set TINITTER_HTTPD"
  "$control" -t </dev/null || die "the configuration of the web server is not valid: see above; the running server is left as it is"
  "$control" -k graceful </dev/null
  say "$control runs with the new revision"
fi
rm -f "$TINITTER_DATA/maintenance"
