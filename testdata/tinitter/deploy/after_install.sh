#!/bin/sh
# AfterInstall: settings, database, ownership. May run any number of times.
#
# The tree belongs to the web user, so everything in it is run and written as that user: a site that was broken into
# gets no file and no command from root.
set -eu
. "$(dirname "$0")/common.sh"

# Replaces a file of the tree by what comes on stdin.
put() { as_web_user sh -c 'umask 0027 && rm -f "$1.new" && cat >"$1.new" && mv -f "$1.new" "$1"' sh "$1"; }

need php "install php-cli with pdo and mbstring"
[ -f "$tree/htdocs/index.php" ] || die "$tree/htdocs/index.php is missing: the revision is not installed at $tree"
for extension in pdo mbstring; do
  php -m | grep -qix "$extension" || die "the PHP extension $extension is missing"
done

if is_root; then
  user=$(web_user)
  group=${TINITTER_WEB_GROUP:-$(id -gn "$user")}
  chown -hR "$user:$group" "$tree"
  say "$tree belongs to $user:$group"
else
  say "not root: ownership of $tree left as it is"
fi

# The data live beside the tree, not in it: a deployment replaces the tree.
mkdir -p "$TINITTER_DATA/db" "$TINITTER_DATA/cache"
chmod 0750 "$TINITTER_DATA" "$TINITTER_DATA/db" "$TINITTER_DATA/cache"
if is_root; then
  chown -h "root:$group" "$TINITTER_DATA"
  chown -h "$user:$group" "$TINITTER_DATA/db" "$TINITTER_DATA/cache"
fi

# Hosts behind one balancer are given the same TINITTER_SECRET; a host of its own makes one, once.
if [ -z "${TINITTER_SECRET:-}" ]; then
  if [ ! -s "$TINITTER_DATA/secret" ]; then
    (umask 077 && php -r 'echo bin2hex(random_bytes(32)), "\n";' >"$TINITTER_DATA/secret.new")
    mv "$TINITTER_DATA/secret.new" "$TINITTER_DATA/secret"
    say "made a secret for the forms in $TINITTER_DATA/secret (set TINITTER_SECRET to share one between hosts)"
  fi
  TINITTER_SECRET=$(cat "$TINITTER_DATA/secret")
fi
TINITTER_DSN=${TINITTER_DSN:-sqlite:$TINITTER_DATA/db/tinitter.sqlite3}
export TINITTER_SECRET TINITTER_DSN

put "$tree/config.php" <"$tree/config.php.sample"
put "$tree/htdocs/.htaccess" <"$tree/htdocs/.htaccess.sample"
as_web_user php "$tree/bin/setup.php" config
say "wrote config.php, config.local.php and htdocs/.htaccess (database ${TINITTER_DSN%%:*})"

fresh=no
case $TINITTER_DSN in sqlite:*) [ -e "${TINITTER_DSN#sqlite:}" ] || fresh=yes ;; esac
as_web_user php "$tree/bin/setup.php" database
if [ "$fresh" = yes ]; then
  say "created ${TINITTER_DSN#sqlite:} from the schema"
else
  say "the database is there and has its tables"
fi

# The page would ask the metadata service itself; a note saves each host its first slow answer.
endpoint=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}
endpoint=${endpoint%/}
instance=
if command -v curl >/dev/null 2>&1; then
  ask() { curl -fsS --noproxy '*' --connect-timeout 1 --max-time 2 "$@" 2>/dev/null; }
  if token=$(ask -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$endpoint/latest/api/token"); then
    instance=$(ask -H "X-aws-ec2-metadata-token: $token" "$endpoint/latest/meta-data/instance-id") || instance=
  fi
fi
if [ -n "$instance" ]; then
  # With the boot id, so that a note baked into an image is not believed by the instances made from it.
  printf '%s\n%s\n' "$instance" "$(cat /proc/sys/kernel/random/boot_id)" >"$TINITTER_DATA/instance-id.new"
  chmod 0644 "$TINITTER_DATA/instance-id.new"
  mv -f "$TINITTER_DATA/instance-id.new" "$TINITTER_DATA/instance-id"
  say "this is instance $instance"
else
  rm -f "$TINITTER_DATA/instance-id"
  say "the metadata service did not answer: the page will ask again"
fi

# What the page's footer shows. Last, so that it never names a deployment that did not come this far.
one_line() { printf '%s' "$1" | tr -cd '[:print:]'; }
{
  printf 'deployment=%s\n' "$(one_line "${DEPLOYMENT_ID:-by hand}")"
  printf 'application=%s\n' "$(one_line "${APPLICATION_NAME:-}")"
  printf 'group=%s\n' "$(one_line "${DEPLOYMENT_GROUP_NAME:-}")"
  printf 'source=%s\n' "$(one_line "${BUNDLE_KEY:-${BUNDLE_COMMIT:-}}")"
  printf 'at=%s\n' "$(date +%s)"
} | put "$tree/DEPLOYED"
say "revision $(cat "$tree/REVISION") is ready, deployment ${DEPLOYMENT_ID:-by hand}"
