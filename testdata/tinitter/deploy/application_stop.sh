#!/bin/sh
# ApplicationStop: tells visitors that a deployment is under way. The web server keeps running: other sites may share it,
# and the old revision serves until the new one takes its place. The page ignores the marker after ten minutes.
set -eu
. "$(dirname "$0")/common.sh"

if [ -d "$TINITTER_DATA" ]; then
  : >"$TINITTER_DATA/maintenance"
  say "the page says that a deployment is under way"
else
  say "nothing is installed yet"
fi
