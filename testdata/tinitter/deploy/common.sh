# Shared by the deployment scripts. Sourced, never run.
#
# Settings come from the environment, then from TINITTER_ENV (default /etc/slipway/tinitter.env, lines KEY=value), then
# from the defaults below. They are listed in README.md.

here=$(cd "$(dirname "$0")" && pwd)

say() { printf 'tinitter: %s\n' "$*"; }
die() { printf 'tinitter: %s\n' "$*" >&2; exit 1; }

# Lines of the file are data: they are not run, and only names of ours are taken.
read_settings() {
  [ -r "$1" ] || return 0
  while IFS= read -r line || [ -n "$line" ]; do
    key=${line%%=*}
    case $line in \#* | '' ) continue ;; *=*) ;; *) continue ;; esac
    case $key in *[!A-Z0-9_]*) continue ;; TINITTER_?* | AWS_EC2_METADATA_SERVICE_ENDPOINT) ;; *) continue ;; esac
    eval "set_already=\${$key+yes}"
    [ "${set_already:-}" = yes ] && continue
    value=${line#*=}
    case $value in
      \"*\") value=${value#\"}; value=${value%\"} ;;
      \'*\') value=${value#\'}; value=${value%\'} ;;
    esac
    export "$key=$value"
  done <"$1"
}

# A scratch root moves everything that the scripts touch below one folder.
TINITTER_ROOT=${TINITTER_ROOT:-}
TINITTER_ROOT=${TINITTER_ROOT%/}
read_settings "${TINITTER_ENV:-$TINITTER_ROOT/etc/slipway/tinitter.env}"
TINITTER_DATA=${TINITTER_DATA:-$TINITTER_ROOT/var/lib/tinitter}
TINITTER_URL=${TINITTER_URL:-http://127.0.0.1}
TINITTER_URL=${TINITTER_URL%/}
TINITTER_WAIT=${TINITTER_WAIT:-60}
export TINITTER_ROOT TINITTER_DATA
tree=$TINITTER_ROOT/Tinitter

is_root() { [ "$(id -u)" = 0 ]; }

# The user the web server runs as: www-data on Debian, apache on Amazon Linux.
web_user() {
  if [ -n "${TINITTER_WEB_USER:-}" ]; then
    printf '%s\n' "$TINITTER_WEB_USER"
    return
  fi
  for candidate in apache www-data httpd; do
    if id "$candidate" >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  die "no user apache or www-data: install the web server first, or set TINITTER_WEB_USER"
}

# Runs a command as the web user, so that files it makes are the web server's from the start.
as_web_user() {
  if is_root; then
    runuser -u "$(web_user)" -- "$@"
  else
    "$@"
  fi
}

need() { command -v "$1" >/dev/null 2>&1 || die "$1 is not installed: $2"; }
