#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# What is open with somebody whose session ends ends, where the server is not ours: an application that
# listens on the mesh address itself, nginx, sshd, and an instrument behind the gateway. On a device
# that two people share the first one's ends before the second one is let in.
#
#   lap 192.0.2.1  staff, later student --\                        10.9.0.1
#   stu 192.0.2.3  somebody else         --+-- [net] -- svc 192.0.2.2 -- [lab] -- inst 10.9.0.5
. "$(dirname "$0")/lib.sh"
command -v wireguard-go >/dev/null || modprobe -n wireguard 2>/dev/null || skip_all "no WireGuard of any kind"
[ -c /dev/net/tun ] || skip_all "no /dev/net/tun"
PATH=$B/tests/netns:$PATH
apps=$TOP/tests/apps
ula=fd5e:ed00:1::/48

switch net
switch lab
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
host inst
plug svc lab eth1 10.9.0.1/24
plug inst lab eth0 10.9.0.5/24
ip -n inst route add default via 10.9.0.1

node()	# HOST ID IPV4 UNDERLAY MORE
{
	printf '{"op":"node","seq":1,"node":{"id":"%s","name":"%s","key":"%s","v4":"%s","v6":"%s","endpoints":["%s:51820"]%s}}\n' \
		"$2" "$1" "$(cat "$T/$1/pub")" "$3" "$(cat "$T/$1/v6")" "$4" "$5"
}
person()	# LOGIN SESSION: everybody here has the same rights
{
	[ -n "$1" ] || return 0
	printf ',"user":{"id":"u%d","issuer":"https://idp.example.edu","sub":"%s","login":"%s@example.edu","name":"%s","email":"%s@example.edu","groups":["group:lab"]},"session":{"id":"%s","auth_time":%d,"expires":%d,"acr":"mfa","amr":["pwd","otp"]}' \
		"$(printf %s "$1" | cksum | cut -d' ' -f1)" "$1" "$1" "$1" "$1" "$2" "$(date +%s)" $(($(date +%s) + 3600))
}
policy='{\"groups\":{\"group:lab\":[\"staff@example.edu\",\"student@example.edu\",\"admin@example.edu\"]},\"tagOwners\":{\"tag:server\":[\"group:lab\"]},\"hosts\":{\"inst\":\"10.9.0.0/24\"},\"grants\":[{\"src\":[\"group:lab\"],\"dst\":[\"tag:server\",\"inst\"],\"ip\":[\"tcp:22\",\"tcp:5025\",\"tcp:7000\",\"tcp:8080\"]}]}'
maps()	# WHO-IS-AT-LAP SESSION; always for all hosts, and the service host last
{
	local h id
	for h in lap:n1 stu:n3 svc:n2; do
		id=${h#*:} h=${h%:*}
		{
			printf '{"op":"full","v":1,"epoch":"0123456789abcdef","seq":1,"lease":86400,"now":%d,"mesh":{"ula":"%s","v4":"100.64.0.0/10","name":"example"},"self":"%s"}\n' \
				"$(date +%s)" $ula $id
			node lap n1 100.64.0.1 192.0.2.1 "$(person "$1" "${2:-s1}")"
			node svc n2 100.64.0.2 192.0.2.2 ',"tags":["tag:server"],"routes":["10.9.0.0/24"]'
			node stu n3 100.64.0.3 192.0.2.3 "$(person admin s3)"
			printf '{"op":"policy","seq":1,"text":"%s"}\n{"op":"end","seq":1}\n' "$policy"
		} >"$T/host/$h/etc/reeve/map.new"
		chmod 644 "$T/host/$h/etc/reeve/map.new"
		mv "$T/host/$h/etc/reeve/map.new" "$T/host/$h/etc/reeve/map.ndjson"
	done
}
for h in lap stu svc; do
	cat >"$T/host/$h/etc/reeve/reeved.hujson" <<-END
	{
		"map": "map.ndjson", "run-dir": "/run/reeve", "state-dir": "/var/lib/reeve", "log-level": "debug",
		$([ $h != svc ] || echo '"mesh": { "routes": ["10.9.0.0/24"] },')
	}
	END
done
maps staff

# ---- servers that know nothing of us ----

log=$T/held
spawn svc holder python3 "$apps/holder.py" 7000 "$log"
spawn inst instrument python3 "$apps/instrument.py" 5025
ok "the application listens" wait_for 20 grep -q ready "$log"
nginx=$(command -v nginx) sshd=$(command -v sshd)
if [ -n "$nginx" ]; then
	cat >"$T/nginx.conf" <<-END
	daemon off; user www-data; pid /run/nginx.pid; error_log stderr; worker_processes 1;
	events { worker_connections 64; }
	http {
		access_log off; client_body_temp_path /run/b; proxy_temp_path /run/p; fastcgi_temp_path /run/f;
		uwsgi_temp_path /run/u; scgi_temp_path /run/s;
		server { listen 8080; keepalive_timeout 1h; client_header_timeout 1h; root /nonexistent; }
	}
	END
	spawn svc nginx "$nginx" -p "$T" -c "$T/nginx.conf"
fi
if [ -n "$sshd" ] && command -v ssh >/dev/null; then
	mkdir -p "$T/host/svc/run/sshd" "$T/ssh"
	ssh-keygen -q -t ed25519 -N '' -f "$T/ssh/host" && ssh-keygen -q -t ed25519 -N '' -f "$T/ssh/id"
	at svc sed -i 's|^staff:\(.*\):/usr/sbin/nologin|staff:\1:/bin/sh|' /etc/passwd
	cp "$T/ssh/id.pub" "$T/ssh/authorized_keys"
	cat >"$T/ssh/config" <<-END
	Port 22
	ListenAddress 0.0.0.0
	HostKey $T/ssh/host
	PidFile none
	UsePAM no
	StrictModes no
	PasswordAuthentication no
	AuthorizedKeysFile $T/ssh/authorized_keys
	END
	spawn svc sshd "$sshd" -D -e -f "$T/ssh/config"
else
	sshd=
fi
for h in svc lap stu; do
	spawn $h reeved-$h reeved -c /etc/reeve/reeved.hujson
done

count() { grep -c "$@" "$log" || :; }
tells() { [ -n "$(at "$1" timeout 5 bash -c 'exec 3<>/dev/tcp/'"$2/$3"' && read -t 3 -r line <&3 && echo "$line"')" ]; }
scpi() { [ -n "$(at lap timeout 5 bash -c 'exec 3<>/dev/tcp/10.9.0.5/5025 && echo "*IDN?" >&3 && read -t 3 -r line <&3 && echo "$line"')" ]; }
ok "staff reach the application" wait_for 20 tells lap 100.64.0.2 7000
ok "so does somebody else" wait_for 20 tells stu 100.64.0.2 7000
ok "and the instrument" wait_for 20 scpi
if grep -q 'cannot end connections' "$T/log/reeved-svc"; then
	skip "connections end with their person" "this kernel has no INET_DIAG_DESTROY"
	finish
fi

# ---- what is open ----

# Established at the server, from lap or from stu.
at_port() { at svc ss -Htn state established "( sport = :$1 )" | grep -cF "$2" || :; }
some() { [ "$(at_port "$1" "$2")" -gt 0 ]; }
none() { [ "$(at_port "$1" "$2")" = 0 ]; }
lap6=$(cat "$T/lap/v6") svc6=$(cat "$T/svc/v6")
streams()	# NAME: all from lap; each a line of watch.py, but for what speaks no instrument's language
{
	spawn lap "$1" python3 "$apps/watch.py" "$T/$1" tcp=100.64.0.2:7000 "tcp=[$svc6]:7000" tcp=10.9.0.5:5025
	[ -z "$nginx" ] || spawn lap "$1-nginx" bash -c 'exec 3<>/dev/tcp/100.64.0.2/8080 && printf "GET / HTTP/1.1\r\n" >&3 && cat <&3'
	[ -z "$sshd" ] || spawn lap "$1-ssh" ssh -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
		-o ServerAliveInterval=0 -i "$T/ssh/id" staff@100.64.0.2 'while sleep 0.1; do echo still here; done'
}
runs() { [ "$(awk -v now="$(date +%s.%N)" '$5 == "open" && $3 > 0 && now - $4 < 0.5' "$T/$1" | wc -l)" = 3 ]; }
all_run() { runs "$1" && { [ -z "$nginx" ] || some 8080 100.64.0.1; } &&
	{ [ -z "$sshd" ] || { some 22 100.64.0.1 && grep -q still "$T/log/$1-ssh"; }; }; }
gone() { none 7000 100.64.0.1 && none 7000 "$lap6" && none 8080 100.64.0.1 && none 22 100.64.0.1; }
end_streams() { for s in "$1" ${nginx:+"$1-nginx"} ${sshd:+"$1-ssh"}; do end "$s" KILL; done; }
stu_now() { awk '{ print $3 }' "$T/other"; }
stu_moves() { [ "$(stu_now)" -gt "$stu_was" ]; }
spawn stu other python3 "$apps/watch.py" "$T/other" tcp=100.64.0.2:7000
streams first
ok "connections to the application (IPv4 and IPv6), nginx, sshd and the instrument are open" wait_for 20 all_run first
ok "and somebody else's" wait_for 20 some 7000 100.64.0.3

# ---- a session that is renewed ----

maps staff s77
whois() { at svc curl -sS --max-time 5 --unix-socket /run/reeve/api.sock "http://reeve/v1/whois?addr=100.64.0.1"; }
renewed() { whois | grep -q '"s77"'; }
ok "another session of the same person is known" wait_for 20 renewed
ok "and ends nothing" all_run first
same "not one connection" 0 count '^end.* ECONNABORTED'

# ---- a session that ends ----

maps ''
ok "without a session all of it ends at the servers" wait_for 20 gone
aborted() { [ "$(count '^end.* ECONNABORTED')" -ge "$1" ]; }
ok "whose reads end, IPv4 and IPv6" wait_for 20 aborted 2
[ -z "$sshd" ] || {
	no_shell() { ! at svc pgrep -u staff -f 'sleep 0.1' >/dev/null; }
	ok "what ran in the login ends, too" wait_for 20 no_shell
}
stu_was=$(stu_now)
ok "somebody else's connection lives on" wait_for 20 stu_moves
end_streams first

# ---- a device that two share ----

maps staff
ok "with a session again they reach the application" wait_for 20 tells lap 100.64.0.2 7000
ok "and the instrument" wait_for 20 scpi
streams second
ok "everything is open again" wait_for 20 all_run second
was=$(count '^end.* ECONNABORTED')
maps student
is_student() { whois | grep -q student@example.edu; }
ok "another person is logged in there" wait_for 20 is_student
ok "whose rights are the same" wait_for 20 tells lap 100.64.0.2 7000
ok "what the first one had open has ended" wait_for 20 aborted $((was + 2))
watch_lines() { awk '{ print $1, $2, $3 }' "$T/second"; }
quiet() { awk -v now="$(date +%s.%N)" 'now - $4 > 1 { n++ } END { exit n != 3 }' "$T/second"; }
ok "and no byte comes of it any more, through the gateway neither" wait_for 20 quiet
got=$(watch_lines)
ok "while the second one reaches the instrument" wait_for 20 scpi
same "which says nothing more on the first one's connection" "$got" watch_lines
end_streams second

# ---- net is away meanwhile ----

streams third
ok "everything is open for the second one" wait_for 20 all_run third
was=$(count '^end.* ECONNABORTED')
net_pid() { ps -eo pid,args | awk '$2 == "reeved[net]" { print $1 }' | while read -r p; do
	[ "$(readlink "/proc/$p/ns/net")" = "$(readlink "/proc/$(cat "$T/pid/host-svc")/ns/net")" ] && echo "$p"; done; }
old=$(net_pid)
kill -STOP "$old"
maps staff
is_staff() { whois | grep -q staff@example.edu; }
ok "the first one is back while net hears nothing" wait_for 20 is_staff
kill -KILL "$old"
ok "net's next life knows from the packet filter whose connections those were" wait_for 20 aborted $((was + 2))
stu_was=$(stu_now)
ok "and somebody else's connection is still the same" wait_for 20 stu_moves
end_streams third
end other
finish
