#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# People with only a browser, before web servers that stay: nginx, Caddy, HAProxy and Apache, each with the
# configuration that contrib/forward-auth has for it, in the campus of campus.sh. Staff's computer has no Reeve.
#
#   staff -- https://NAME.example.edu -- server -- 127.0.0.1:8080 tests/apps/told.py
#                                          \-- /run/reeve/forward/NAME-public -- reeved on the wiki host
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/campus.sh"
for p in reeved reeve reeve-coordinator; do
	[ -x "$B/$p" ] || skip_all "$p is not built"
done
REEVE_IDP_NODE=$(PYTHONPATH=$TOP/tests/idp python3 -c "import idp; print(idp.node_dir() or '')")
[ -n "$REEVE_IDP_NODE" ] || skip_all "oidc-provider is not installed (tests/idp/idp.py install)"
export REEVE_IDP_NODE
contrib=$TOP/contrib/forward-auth
modules=/usr/lib/apache2/modules
campus_build
servers= services= n=20
etc=$T/host/wiki/etc

# has NAME USER PROGRAM: it is there, or it is said that it is not. Its address is the next.
has()
{
	n=$((n + 1))
	command -v "$3" >/dev/null || { skip "$1" "$3 is not installed"; return 1; }
	grep -q "^$2:" "$etc/passwd" || { echo "$2:x:6020$n:6020$n::/nonexistent:/usr/sbin/nologin" >>"$etc/passwd"
		echo "$2:x:6020$n:" >>"$etc/group"; }
	ip -n wiki address add 192.0.2.$n/24 dev eth0
	echo "192.0.2.$n $1.example.edu" >>"$T/host/staff/etc/hosts"
	servers="$servers${servers:+ }$1"
	services="$services\"$1\": { \"forward-auth\": \"$1\", \"listen\": [\"unix:$1-public\"], \"forward-users\": [\"$2\"],
		\"hosts\": [\"$1.example.edu\"], \"browser\": \"https://$1.example.edu\", \"profiles\": [\"remote-user\"] },"
}
# The shipped file, with this place's name, address and certificate.
shipped()
{
	sed -e "s|wiki\.example\.edu|$1.example.edu|g; s|forward/wiki-public|forward/$1-public|g" \
		-e "s|/etc/[a-z0-9]*/wiki\.|$T/tls/wiki.|g; s|/etc/[a-z0-9]*/reeve\.lua|$contrib/$1/reeve.lua|" "$contrib/$2"
}
mkdir -p "$T/tls" "$T/caddy"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=wiki -keyout "$T/tls/wiki.key" \
	-out "$T/tls/wiki.pem" 2>/dev/null || { echo "Bail out! no certificate"; exit 99; }

if has nginx www-data nginx; then
	{
		echo "daemon off; user www-data; pid $T/nginx.pid; error_log stderr warn; worker_processes 1; events { worker_connections 256; }"
		echo "http { access_log off; client_body_temp_path $T/n-b; proxy_temp_path $T/n-p; fastcgi_temp_path $T/n-f; uwsgi_temp_path $T/n-u; scgi_temp_path $T/n-s;"
		shipped nginx nginx/public.conf | sed "s/listen 443/listen 192.0.2.$n:443/"
		echo "}"
	} >"$T/nginx.conf"
	nginx() { spawn wiki nginx /usr/sbin/nginx -c "$T/nginx.conf"; }
fi
if has caddy caddy caddy; then
	{
		printf '{\n\tadmin off\n\tauto_https off\n}\n'
		shipped caddy caddy/Caddyfile.public | sed "s|^https://.*{|&\n\ttls $T/tls/caddy.pem $T/tls/caddy.key\n\tbind 192.0.2.$n|"
	} >"$T/Caddyfile"
	caddy_uid=$(sed -n 's/^caddy:x:\([0-9]*\):.*/\1/p' "$etc/passwd")
	chown "$caddy_uid" "$T/caddy"
	install -m 400 -o "$caddy_uid" "$T/tls/wiki.key" "$T/tls/caddy.key"
	install -m 444 "$T/tls/wiki.pem" "$T/tls/caddy.pem"
	caddy() { spawn wiki caddy env HOME="$T/caddy" XDG_DATA_HOME="$T/caddy" XDG_CONFIG_HOME="$T/caddy" setpriv --reuid caddy \
		--regid caddy --clear-groups --inh-caps=+net_bind_service --ambient-caps=+net_bind_service -- \
		"$(command -v caddy)" run --config "$T/Caddyfile" --adapter caddyfile; }
fi
if has haproxy haproxy haproxy; then
	shipped haproxy haproxy/public.cfg | sed "s|bind :443|bind 192.0.2.$n:443|; s|tls/wiki.pem|tls/both.pem|" >"$T/haproxy.cfg"
	cat "$T/tls/wiki.pem" "$T/tls/wiki.key" >"$T/tls/both.pem"
	haproxy() { spawn wiki haproxy /usr/sbin/haproxy -db -f "$T/haproxy.cfg"; }
fi
if [ -e $modules/mod_lua.so ] && [ -e /usr/share/lua/5.3/socket.lua ] && has apache www-data apache2; then
	{
		for m in mpm_event authz_core setenvif headers lua socache_shmcb ssl proxy proxy_http; do
			echo "LoadModule ${m}_module $modules/mod_$m.so"
		done
		echo "ServerRoot $T"; echo "PidFile $T/apache.pid"; echo "ServerName localhost"; echo "User www-data"; echo "Group www-data"
		echo "ErrorLog $T/log/apache-error"; echo "Listen 192.0.2.$n:443"; echo "DefaultRuntimeDir $T"
		shipped apache apache/public.conf
	} >"$T/apache.conf"
	apache() { spawn wiki apache /usr/sbin/apache2 -f "$T/apache.conf" -D FOREGROUND; }
else
	[ -n "${servers##*apache*}" ] && skip apache "apache2-bin or lua-socket is not installed"
fi
[ -n "$servers" ] || skip_all "none of the servers is installed"

campus_idp || { echo "Bail out! no identity provider"; exit 99; }
campus_hub || { echo "Bail out! no hub"; exit 99; }
conf=$etc/reeve/reeved.hujson
first=${servers%% *}
user=$(echo "$services" | sed -n "s/.*\"forward-users\": \[\"\([a-z-]*\)\"\].*/\1/p" | head -1)
mesh="\"$first\": { \"forward-auth\": \"$first\", \"listen\": [\"unix:$first\"], \"forward-users\": [\"$user\"],
	\"hosts\": [\"$first.example.edu\"], \"profiles\": [\"remote-user\"] }"
printf '{ "services": { %s }, "public": { %s } }\n' "$mesh" "$services" >"$conf"
server_up wiki tag:server || { echo "Bail out! the wiki did not come up"; exit 99; }
spawn wiki told python3 "$TOP/tests/apps/told.py" 127.0.0.1 8080
ok "the wiki host has its map" wait_for 20 connected wiki
for s in $servers; do
	$s
done

# The policy knows them by their names.
list=$(printf '"svc:%s",' $servers)
cat >"$T/policy" <<-END
	{ "groups": { "group:lab": ["staff@example.edu"] }, "tagOwners": { "tag:server": [] },
	  "grants": [
	    { "src": ["group:lab"], "dst": [${list%,}], "ip": ["tcp:443"],
	      "http": [{ "methods": ["GET", "HEAD", "POST"], "paths": ["/", "/page", "/a/**"] }] },
	    { "src": ["autogroup:member"], "dst": [${list%,}], "ip": ["tcp:443"], "auth": { "mfa": true },
	      "http": [{ "methods": ["GET"], "paths": ["/all/**"] }] } ] }
END
hub_api() { at hub curl -sS --unix-socket "$control" "$@"; }
version=$(hub_api http://hub/api/v1/policy | jq .version)
ok "a policy for them" sh -c 'jq -Rs --argjson v "$1" "{text: ., base: \$v}" "$2" >"$2.json"' sh "$version" "$T/policy"
put() { hub_api -X PUT -d "@$T/policy.json" http://hub/api/v1/policy | jq -e .version; }
ok "is the hub's" put

# What the people of each server see is theirs to count; the cookie of one is shown to another.
other=${servers##* }
for s in $servers; do
	at staff python3 "$TOP/tests/browser/web_servers.py" "$idp" "$s" "$other" nsenter -t "$(cat "$T/pid/host-hub")" -n -m -u -- \
		curl -sS --unix-socket "$control" >"$T/people" 2>&1
	while IFS= read -r line; do
		case $line in
		'ok - '*) result 0 "${line#ok - }" ;;
		'not ok - '*) result 1 "${line#not ok - }" ;;
		*) echo "$line" ;;
		esac
	done <"$T/people"
	ok "$s: they came to their end" grep -q '^# .* passed' "$T/people"
	other=$s
done

# ---- the first of them asks for people of the mesh, too: at another socket
v4=100.64.0.1   # the hub, which the wiki knows
# asked SOCKET ADDRESS: the answer's status, and why.
asked()
{
	as wiki "$user" curl -s -o /dev/null -D - --max-time 30 --unix-socket "/run/reeve/forward/$1" -H "X-Original-Method: GET" \
		-H "X-Original-URI: /page" -H "X-Original-Host: $first.example.edu" -H "X-Original-Proto: https" -H "X-Real-IP: $2" \
		-H "X-Forwarded-Method: GET" -H "X-Forwarded-Uri: /page" -H "X-Forwarded-Host: $first.example.edu" \
		-H "X-Forwarded-Proto: https" -H "X-Forwarded-For: $2" http://reeve/_reeve/ask |
		tr -d '\r' | sed -n 's/^HTTP[^ ]* \([0-9]*\).*/\1/p; s/^X-Reeve-Reason: //p' | paste -sd' '
}
same "a device of the mesh is known by its address where the mesh is asked for" "403 not-granted" asked "$first" "$v4"
same "and is nobody at the same server's socket for browsers" "401 no-session" asked "$first-public" "$v4"
same "nor is a stranger where the mesh is asked for" "403 unknown-address" asked "$first" 203.0.113.9
printf '{ "services": { %s }, "public": { %s } }\n' "$(echo "$mesh" | sed 's|unix:|&other-|')" "$services" >"$conf"
kill -HUP "$(pid_of reeved-wiki)"
ok "a socket at which nobody is to ask goes" wait_for 30 at wiki test ! -e "/run/reeve/forward/$first"
same "the others stay" "401 no-session" asked "$first-public" "$v4"

# ---- Reeve is away
end reeved-wiki
for s in $servers; do
	code() { at staff curl -sk -o /dev/null -w '%{http_code}' "https://$s.example.edu/page"; }
	refused() { case $(code) in 5*) ;; *) false ;; esac; }
	ok "$s: nobody passes while Reeve is away" wait_for 30 refused
done

# ---- what cannot be configured
try() { sed "$1" "$conf" >"$etc/reeve/try.hujson"; at wiki reeved -n -c /etc/reeve/try.hujson; }
ok "as it is, it is a configuration" try ''
fails "verify: idp cannot check a browser" try '1s|{|{ "verify": "idp",|'
fails "nor is there one that nobody in particular may ask" try 's|"forward-users": \["[a-z-]*"\],||'
fails "or that comes back nowhere" try 's|"browser": "[^"]*",||'
finish
