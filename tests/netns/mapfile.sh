#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# Three reeveds whose map comes from a file: no coordinator anywhere. From WireGuard and
# packet filter up to the identity that the application is told, and back down.
#
#   lap 192.0.2.1  staff@example.edu  --\
#   stu 192.0.2.3  student@example.edu --+-- [net] -- svc 192.0.2.2: wiki on port 80 of its
#                                                     overlay addresses, a TCP echo on 7000,
#                                                     nginx on 8080 (contrib/forward-auth)
. "$(dirname "$0")/lib.sh"
command -v wireguard-go >/dev/null || modprobe -n wireguard 2>/dev/null || skip_all "no WireGuard of any kind"
[ -c /dev/net/tun ] || skip_all "no /dev/net/tun"
PATH=$B/tests/netns:$PATH
apps=$TOP/tests/apps
ula=fd5e:ed00:1::/48

switch net
n=1
for h in lap svc stu; do
	host $h
	plug $h net eth0 192.0.2.$n/24
	mkdir -p "$T/host/$h/lib/reeve" "$T/$h"
	mesh_tool genkey >"$T/$h/key"
	install -m 600 -o 60100 -g 60100 "$T/$h/key" "$T/host/$h/lib/reeve/device.key"
	chown 60100:60100 "$T/host/$h/lib/reeve" && chmod 700 "$T/host/$h/lib/reeve"
	mesh_tool pubkey "$(cat "$T/$h/key")" >"$T/$h/pub"
	mesh_tool address $ula "$(cat "$T/$h/pub")" >"$T/$h/v6"
	n=$((n + 1))
done

node()	# HOST ID IPV4 UNDERLAY MORE
{
	printf '{"op":"node","seq":1,"node":{"id":"%s","name":"%s","key":"%s","v4":"%s","v6":"%s","endpoints":["%s:51820"]%s}}\n' \
		"$2" "$1" "$(cat "$T/$1/pub")" "$3" "$(cat "$T/$1/v6")" "$4" "$5"
}
person()	# USER-ID LOGIN GROUP SESSION-ID EXPIRES
{
	printf ',"user":{"id":"%s","issuer":"https://idp.example.edu","sub":"%s","login":"%s","name":"%s","email":"%s","groups":["group:%s"]},"session":{"id":"%s","auth_time":%d,"expires":%d,"acr":"mfa","amr":["pwd","otp"]}' \
		"$1" "$2" "$2" "$2" "$2" "$3" "$4" "$(date +%s)" "$5"
}
policy='{\"groups\":{\"group:lab\":[\"staff@example.edu\"]},\"tagOwners\":{\"tag:server\":[\"group:lab\"]},\"grants\":[{\"src\":[\"group:lab\"],\"dst\":[\"svc:wiki\",\"tag:server\"],\"ip\":[\"tcp:80\",\"tcp:7000\"]},{\"src\":[\"group:lab\"],\"dst\":[\"svc:board\"],\"ip\":[\"tcp:8080\"]}]}'

map()	# SELF: with the sessions of $sessions
{
	local later=$(($(date +%s) + 3600)) staff= student=
	case " $sessions " in *" staff "*) staff=$(person u1 staff@example.edu lab s1 $later) ;; esac
	case " $sessions " in *" student "*) student=$(person u2 student@example.edu campus s2 $later) ;; esac
	printf '{"op":"full","v":1,"epoch":"0123456789abcdef","seq":1,"lease":86400,"now":%d,"mesh":{"ula":"%s","v4":"100.64.0.0/10","name":"example"},"self":"%s"}\n' \
		"$(date +%s)" $ula "$1"
	node lap n1 100.64.0.1 192.0.2.1 "$staff"
	node svc n2 100.64.0.2 192.0.2.2 ',"tags":["tag:server"],"services":[{"name":"wiki","port":80,"http":true,"hosts":["wiki"],"profiles":["remote-user"]},{"name":"board","port":8080,"http":true,"hosts":["board"],"profiles":["remote-user"]}]'
	node stu n3 100.64.0.3 192.0.2.3 "$student"
	printf '{"op":"policy","seq":1,"text":"%s"}\n{"op":"end","seq":1}\n' "$policy"
}
maps()
{
	local h id
	for h in lap:n1 svc:n2 stu:n3; do
		id=${h#*:} h=${h%:*}
		map $id >"$T/host/$h/etc/reeve/map.new"
		chmod 644 "$T/host/$h/etc/reeve/map.new"
		mv "$T/host/$h/etc/reeve/map.new" "$T/host/$h/etc/reeve/map.ndjson"
	done
}

for h in lap stu svc; do
	cat >"$T/host/$h/etc/reeve/reeved.hujson" <<-END
	{
		"map": "map.ndjson", "run-dir": "/run/reeve", "state-dir": "/var/lib/reeve",
		"log-level": "debug",
		$([ $h != svc ] || echo '"services": { "wiki": { "listen": ["80"], "hosts": ["wiki"],
			"upstream": "http://127.0.0.1:8000", "profiles": ["remote-user"] },
			"board": { "forward-auth": "nginx", "listen": ["unix:wiki"], "forward-users": ["www-data"],
			"forward-port": 8080, "hosts": ["board"], "profiles": ["remote-user"] } },
			"audit": "/var/log/reeve/audit.json", "metrics": "unix:/run/reeve/metrics.sock",')
	}
	END
done
sessions="staff student"
maps
ok "reeved -n finds nothing wrong" at svc reeved -n -c /etc/reeve/reeved.hujson

spawn svc app python3 "$apps/download.py" 127.0.0.1 8000
spawn svc echo python3 "$apps/instrument.py" 7000
# Somebody else has the wiki's port at every address, as a web server that came with the host does.
spawn svc squatter python3 -m http.server 80 --bind 0.0.0.0
ok "the squatter listens" wait_for 20 at svc curl -sf -o /dev/null http://127.0.0.1/
for h in lap svc stu; do
	spawn $h reeved-$h reeved -c /etc/reeve/reeved.hujson
done
has_device() { at "$1" ip link show reeve0 | grep -q UP; }
for h in lap svc stu; do
	ok "$h has a mesh device" wait_for 10 has_device $h
done
get() { at "$1" curl -sS --max-time 5 "${@:2}"; }
ok "whoever holds the wiki's port is spoken of" wait_for 20 grep -q 'listening at 100.64.0.2:80: another program' "$T/log/reeved-svc"
end squatter
serves() { [ "$(get lap -o /dev/null -w '%{http_code}' http://wiki/headers)" = 200 ]; }
ok "staff reaches the wiki by its name, once the port is free" wait_for 30 serves
ok "and the application is told who it is" sh -c "nsenter -t $(cat "$T/pid/host-lap") -n -m curl -sS http://wiki/headers | grep -qi '^remote-user: staff@example.edu'"
ok "whatever the client claims" sh -c "! nsenter -t $(cat "$T/pid/host-lap") -n -m curl -sS -H 'Remote_User: mallory' http://wiki/headers | grep -qi mallory"
ok "over IPv6 as well" get lap -f -o /dev/null -H 'Host: wiki' "http://[$(cat "$T/svc/v6")]/headers"
ok "the TCP service too" at lap timeout 5 bash -c 'exec 3<>/dev/tcp/100.64.0.2/7000 && echo "*IDN?" >&3 && read -r line <&3'
refused() { at svc curl -sf --unix-socket /run/reeve/metrics.sock http://m/metrics |
	awk '/^reeve_filter_refused_packets_total/ { n += $2; rows++ } END { if (rows != 8) exit 1; print n }'; }
refused_now=$(refused)
more_refused()
{
	at lap timeout 2 bash -c 'exec 3<>/dev/tcp/100.64.0.2/7001' 2>/dev/null || :
	local n; n=$(refused) && [ "$n" -gt "$refused_now" ]
}
fails "the student has no grant for it" at stu timeout 5 bash -c 'exec 3<>/dev/tcp/100.64.0.2/7000'
ok "metrics count what the packet filter refused" wait_for 30 more_refused
fails "nor for the wiki" get stu -f -o /dev/null http://wiki/headers
fails "nor does anybody without the mesh" get lap -f -o /dev/null --interface eth0 http://192.0.2.2:80/

# A web server that stays in front, as contrib/forward-auth has it, at a port of its own; and a
# WebSocket through it, which it asks about once.
nginx=$(command -v nginx)
if [ -n "$nginx" ]; then
	cat >"$T/nginx.conf" <<-END
	daemon off; user www-data; pid /run/nginx.pid; error_log stderr; worker_processes 1;
	events { worker_connections 64; }
	http {
		access_log off; client_body_temp_path /run/b; proxy_temp_path /run/p; fastcgi_temp_path /run/f;
		uwsgi_temp_path /run/u; scgi_temp_path /run/s;
		$(sed -e 's/listen 80\b/listen 8080/; s/wiki\.example\.edu/board/; s/127.0.0.1:8080/127.0.0.1:8001/' \
			"$TOP/contrib/forward-auth/nginx/wiki.conf")
	}
	END
	spawn svc ticker python3 "$apps/ticker.py" 8001 "$T/came"
	spawn svc nginx "$nginx" -p "$T" -c "$T/nginx.conf"
	board() { [ "$(get lap http://board:8080/)" = staff@example.edu ]; }
	ok "behind nginx the application is told who it is" wait_for 20 board
	fails "and a student is refused" get stu -f -o /dev/null http://board:8080/
	ok "nor does anybody get there without the mesh" sh -c "[ \$(nsenter -t $(cat "$T/pid/host-stu") -n curl -sS --max-time 5 -o /dev/null \
		-w '%{http_code}' -H 'Host: board' http://192.0.2.2:8080/) = 403 ]"
else
	skip "a web server that stays in front" "nginx is not installed"
fi

# What dies comes back, and opens nothing meanwhile.
pids_of() { ps -eo pid,args | awk -v want="$1" '$2 == "reeved[" want "]" { print $1 }'; }
svc_child() { local p; for p in $(pids_of "$1"); do [ "$(readlink "/proc/$p/ns/net")" = "$(readlink "/proc/$(cat "$T/pid/host-svc")/ns/net")" ] && echo "$p"; done; }
svc_tunnel() { pgrep -u 60102 -x wireguard-go | while read -r p; do
	[ "$(readlink "/proc/$p/ns/net")" = "$(readlink "/proc/$(cat "$T/pid/host-svc")/ns/net")" ] && echo "$p"; done; }
spawn lap through python3 "$apps/watch.py" "$T/through" tcp=100.64.0.2:7000
through() { awk '{ print $3 }' "$T/through"; }
goes_on() { [ "$(through)" -gt "$through_was" ]; }
through_was=0
ok "a stream runs" wait_for 10 goes_on
for p in front0 front1 core net; do
	tunnel_was=$(svc_tunnel)
	kill -9 "$(svc_child $p)"
	fails "killed $p: the student still gets nothing" get stu -f -o /dev/null http://wiki/headers
	ok "killed $p: staff is served" wait_for 10 serves
	again() { [ -n "$(svc_child $p)" ]; }
	ok "killed $p: it is there again" wait_for 5 again
	[ -z "$tunnel_was" ] || same "killed $p: the userspace device is the same process" "$tunnel_was" svc_tunnel
	through_was=$(through)
	ok "killed $p: the very same stream runs" wait_for 10 goes_on
done
end through
if [ -n "$(svc_tunnel)" ] && command -v jq >/dev/null; then
	was=$(svc_tunnel) at=$(date +%s)
	kill -9 "$was"
	another() { local p; p=$(svc_tunnel); [ -n "$p" ] && [ "$p" != "$was" ]; }
	ok "killed the tunnel: there is another one" wait_for 10 another
	# Nobody sends anything meanwhile.
	shaken() { at svc reeve --json status | jq -e --argjson at "$at" '.peers[] | select(.node.name == "lap") | .handshake >= $at'; }
	ok "killed the tunnel: it begins handshakes by itself" wait_for 10 shaken
	ok "killed the tunnel: staff is served" wait_for 10 serves
fi
index() { at svc ip -o link show reeve0 | cut -d: -f1; }
was=$(index)
at svc ip link delete reeve0
made_anew() { local i; i=$(index); [ -n "$i" ] && [ "$i" != "$was" ]; }
ok "the interface taken away: there is another one" wait_for 10 made_anew
ok "the interface taken away: staff is served" wait_for 10 serves

# A revocation: the map is read again, and what is open ends.
open=1
[ -z "$nginx" ] || open=2
spawn lap watch python3 "$apps/watch.py" "$T/watched" tcp=100.64.0.2:7000 ${nginx:+ws=http://board:8080/}
streams() { [ "$(awk '$3 > 200 && $5 == "open"' "$T/watched" | wc -l)" = $open ]; }
ok "a stream of staff's is open, and a WebSocket through nginx" wait_for 10 streams
[ -z "$nginx" ] || ok "which the service host sees" at svc sh -c "ss -Htn state established '( sport = :8080 )' | grep -q ."
sessions="student"
maps
stopped() { ! serves && [ "$(awk -v now="$(date +%s.%N)" 'now - $4 > 1' "$T/watched" | wc -l)" = $open ]; }
ok "without a session nothing more comes, on what is open either" wait_for 10 stopped
if [ -n "$nginx" ]; then
	# nginx's half ends with it, and so the application's: neither waits for a timeout of its own
	board_open() { at svc ss -Htn state established '( sport = :8080 or sport = :8001 )' | grep -q .; }
	nobody_there() { ! board_open; }
	if grep -q 'cannot end connections' "$T/log/reeved-svc"; then
		skip "nginx and the application behind it are told" "this kernel has no INET_DIAG_DESTROY"
	else
		ok "nginx and the application behind it are told" wait_for 10 nobody_there
	fi
fi
fails "and nothing new opens" at lap timeout 3 bash -c 'exec 3<>/dev/tcp/100.64.0.2/7000 && echo "*IDN?" >&3 && read -r line <&3'
sessions="staff student"
maps
ok "with one again, it is served again" wait_for 10 serves
end watch

# The end.
end reeved-svc
fails "the device is gone" at svc ip link show reeve0
fails "and the packet filter" at svc nft list table inet reeve
fails "and the hosts block" grep -q wiki "$T/host/svc/etc/hosts"
end reeved-lap KILL
ok "a crash leaves the packet filter" at lap nft list table inet reeve
finish
