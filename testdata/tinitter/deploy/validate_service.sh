#!/bin/sh
# ValidateService: the site answers, with its database, and it is this deployment that does.
set -eu
. "$(dirname "$0")/common.sh"

need curl "ValidateService asks $TINITTER_URL/health with it"
headers=$(mktemp)
body=$(mktemp)
trap 'rm -f "$headers" "$body"' EXIT

began=$(date +%s)
pause=0.2
tries=0
while :; do
  tries=$((tries + 1))
  status=$(curl -sS --noproxy '*' --connect-timeout 2 --max-time 5 ${TINITTER_HOST:+-H "Host: $TINITTER_HOST"} \
    -D "$headers" -o "$body" -w '%{http_code}' "$TINITTER_URL/health" 2>&1) || true
  serving=$(tr -d '\r' <"$headers" | sed -n 's/^X-Tinitter-Deployment: *//Ip' | tail -n 1)
  if [ "$status" != 200 ]; then
    why="answered ${status:-nothing}: $(head -c 300 "$body")"
  elif [ -n "${DEPLOYMENT_ID:-}" ] && [ "$serving" != "$DEPLOYMENT_ID" ]; then
    why="is healthy but serves deployment ${serving:-(none)}, not $DEPLOYMENT_ID: is its document root $tree/htdocs?"
  else
    say "$TINITTER_URL/health is 200, serving ${serving:-a tree put there by hand} (try $tries)"
    exit 0
  fi
  [ $(($(date +%s) - began)) -lt "$TINITTER_WAIT" ] || die "$TINITTER_URL/health $why (gave up after ${TINITTER_WAIT} s and $tries tries)"
  sleep "$pause"
  pause=1
done
