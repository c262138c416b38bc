#!/bin/sh
# BeforeInstall: makes room for the new revision without destroying anything.
#
# A tree that this deployment group installed is left alone: the agent replaces it, and it keeps serving until then.
# A tree from elsewhere (made by hand, by another group) would be a conflict: it is moved aside, whole.
set -eu
. "$(dirname "$0")/common.sh"

# <root>/<group>/<deployment>/deployment-archive/deploy → the agent's record of what this group installed.
installed_by_this_group() {
  archive=$(dirname "$here")
  if [ "$(basename "$archive")" = deployment-archive ] && [ -n "${DEPLOYMENT_GROUP_ID:-}" ]; then
    [ -f "$(dirname "$(dirname "$(dirname "$archive")")")/deployment-instructions/$DEPLOYMENT_GROUP_ID-cleanup" ]
  else
    [ -f "$tree/DEPLOYED" ]
  fi
}

if [ ! -e "$tree" ] && [ ! -L "$tree" ]; then
  say "nothing at $tree yet"
elif installed_by_this_group; then
  rm -f "$tree"/config.php.new "$tree"/config.local.php.[0-9]*
  say "$tree is this group's own; it serves until it is replaced"
elif [ -d "$tree" ] && [ -z "$(find "$tree" ! -type d | head -n 1)" ]; then
  say "$tree holds no file"
else
  aside=$tree.before-${DEPLOYMENT_ID:-$(date +%Y%m%d%H%M%S)}
  [ ! -e "$aside" ] || die "$tree was not installed by this deployment group and $aside is taken: look at both and remove one"
  mv "$tree" "$aside"
  say "$tree was not installed by this deployment group: moved to $aside"
fi
