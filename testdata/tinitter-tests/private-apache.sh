#!/bin/sh
# private-apache.sh DIR PORT DOCROOT [FPM-SOCKET]: writes DIR/httpd.conf for an Apache instance of its own and prints the command
# that runs it ("… -f DIR/httpd.conf"), which takes -k start, graceful and stop. Debian and Amazon Linux (mod_php or php-fpm).
set -eu
dir=$1 port=$2 docroot=$3
PATH=$PATH:/usr/sbin:/sbin

for server in apache2 httpd none; do command -v "$server" >/dev/null 2>&1 && break; done
[ "$server" != none ] || { echo "private-apache.sh: neither apache2 nor httpd is installed" >&2; exit 1; }
for modules in /usr/lib/apache2/modules /usr/lib64/httpd/modules /etc/httpd/modules none; do [ -d "$modules" ] && break; done
[ "$modules" != none ] || { echo "private-apache.sh: the folder of Apache's modules was not found" >&2; exit 1; }

php=
for candidate in "$modules"/libphp*.so; do [ -f "$candidate" ] && php=$candidate; done
socket=
for candidate in "${4:-}" /run/php-fpm/www.sock /run/php/php*-fpm.sock; do [ -S "$candidate" ] && socket=$candidate; done
[ -n "$php$socket" ] || { echo "private-apache.sh: neither mod_php nor a php-fpm socket was found" >&2; exit 1; }

mkdir -p "$dir/logs"
for module in mpm_prefork unixd authz_core mime dir alias rewrite log_config proxy proxy_fcgi; do
  case $module in proxy*) [ -z "$php" ] || continue ;; esac
  # What is built in has no file.
  [ ! -f "$modules/mod_$module.so" ] || printf 'LoadModule %s_module %s/mod_%s.so\n' "$module" "$modules" "$module"
done >"$dir/httpd.conf"
{
  if [ -n "$php" ]; then
    case $php in *libphp7*) name=php7_module ;; *) name=php_module ;; esac
    printf 'LoadModule %s %s\n<FilesMatch "\\.php$">\n    SetHandler application/x-httpd-php\n</FilesMatch>\n' "$name" "$php"
  else
    printf '<FilesMatch "\\.php$">\n    SetHandler "proxy:unix:%s|fcgi://localhost"\n</FilesMatch>\n' "$socket"
  fi
  if [ "$(id -u)" = 0 ]; then
    for user in apache www-data; do id "$user" >/dev/null 2>&1 && break; done
    printf 'User %s\nGroup %s\n' "$user" "$(id -gn "$user")"
  fi
  cat <<CONF
ServerRoot $dir
ServerName 127.0.0.1
Listen 127.0.0.1:$port
PidFile $dir/httpd.pid
Mutex file:$dir
TypesConfig /etc/mime.types
DirectoryIndex index.php
LogFormat "%h %t \"%r\" %>s %b" short
ErrorLog $dir/logs/error.log
CustomLog $dir/logs/access.log short
StartServers 2
MinSpareServers 1
MaxSpareServers 4
MaxRequestWorkers 16
KeepAlive On
KeepAliveTimeout 65
DocumentRoot $docroot
<Directory />
    Require all denied
</Directory>
<Directory $docroot>
    AllowOverride All
    Require all granted
</Directory>
<Files ".ht*">
    Require all denied
</Files>
CONF
} >>"$dir/httpd.conf"
printf '%s -f %s/httpd.conf\n' "$server" "$dir"
