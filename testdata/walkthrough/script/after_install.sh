#!/bin/sh
cd /Tinitter || exit 1
user=apache
id "$user" >/dev/null 2>&1 || user=www-data
curl -sS --max-time 5 -o composer-setup.php https://getcomposer.org/installer && php composer-setup.php || echo "going on without the dependencies"
cp config.php.sample config.php
cp htdocs/.htaccess.sample htdocs/.htaccess
php -r '$db = new PDO("sqlite:tinitter.sqlite3"); $db->exec(file_get_contents("schema.sql"));'
chown -R "$user:$user" /Tinitter
chmod 666 tinitter.sqlite3
