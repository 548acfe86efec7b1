#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# Debian's Apache with a CGI script that believes REMOTE_USER, as such scripts have
# done since 1993. The server takes it from the header Remote-User.
# usage: apache.sh FOLDER ADDRESS:PORT
set -eu
mkdir -p "$1/cgi"
cat >"$1/cgi/who" <<'END'
#!/bin/sh
# The variables of RFC 3875 that say who somebody is, in any spelling.
printf 'Content-Type: text/plain\r\n\r\n'
echo "REMOTE_USER=${REMOTE_USER-}"
env | LC_ALL=C sort | grep -E '^HTTP_' || :
END
chmod 755 "$1/cgi/who"
m=/usr/lib/apache2/modules
cat >"$1/httpd.conf" <<END
ServerRoot $1
ServerName localhost
PidFile $1/pid
ErrorLog $1/error.log
Mutex file:$1
Listen $2
User www-data
Group www-data
LoadModule mpm_event_module $m/mod_mpm_event.so
LoadModule authz_core_module $m/mod_authz_core.so
LoadModule alias_module $m/mod_alias.so
LoadModule env_module $m/mod_env.so
LoadModule setenvif_module $m/mod_setenvif.so
LoadModule cgid_module $m/mod_cgid.so
StartServers 1
ScriptSock $1/cgid.sock
SetEnvIf Remote-User "^(.+)$" REMOTE_USER=\$1
ScriptAlias / $1/cgi/
<Directory $1/cgi>
	Require all granted
	Options +ExecCGI
</Directory>
END
exec apache2 -f "$1/httpd.conf" -DFOREGROUND
