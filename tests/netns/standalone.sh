#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# One reeved without a mesh: another VPN is taken to bind addresses to people.
#
#   client                                    server 192.0.2.10
#    192.0.2.1 staff@example.edu  --- [net] --- reeved :80 --> 127.0.0.1:8000 download
#    192.0.2.2 student@example.edu                          --> 127.0.0.1:5232 radicale
#    192.0.2.3 nobody                                       --> 127.0.0.1:8080 Apache, CGI
#    2001:db8::1 staff@example.edu
. "$(dirname "$0")/lib.sh"
[ -x "$B/reeved" ] || skip_all "reeved is not built"
apps=$TOP/tests/apps

switch net
host client
host server
plug client net eth0 192.0.2.1/24 192.0.2.2/24 192.0.2.3/24 2001:db8::1/64
plug server net eth0 192.0.2.10/24 2001:db8::10/64
echo "192.0.2.10 app wiki who" >>"$T/host/client/etc/hosts"

etc=$T/host/server/etc/reeve
mkdir -p "$T/radicale" "$T/apache"
spawn server download python3 "$apps/download.py" 127.0.0.1 8000
spawn server radicale "$apps/radicale.sh" "$T/radicale" 127.0.0.1:5232
spawn server apache "$apps/apache.sh" "$T/apache" 127.0.0.1:8080

cat >"$etc/identities.hujson" <<'END'
[
	{ "from": "192.0.2.1", "login": "staff@example.edu", "name": "Staff Example",
	  "email": "staff@example.edu", "groups": ["lab"] },
	{ "from": "2001:db8::1", "login": "staff@example.edu", "groups": ["lab"] },
	{ "from": "192.0.2.2", "login": "student@example.edu", "groups": ["students"] },
]
END
cat >"$etc/policy.hujson" <<'END'
{
	"grants": [
		{ "src": ["idp:lab"], "dst": ["svc:app", "svc:wiki", "svc:who"], "ip": ["tcp:80"] },
		{ "src": ["student@example.edu"], "dst": ["svc:wiki"], "ip": ["tcp:80"] },
	],
}
END
config()
{
	cat <<END
{
	"identities": "identities.hujson", "policy": "policy.hujson",
	"fronts": 2,
	"break-glass": { "ops": { "key": "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=", "services": ["app"] } },
	"services": {
		"app":  { "listen": ["192.0.2.10:80", "[2001:db8::10]:80"], "hosts": ["app", "192.0.2.10", "[2001:db8::10]"],
		          "upstream": ["http://127.0.0.1:8000"], "profiles": ["remote-user", "x-forwarded"] },
		"wiki": { "listen": ["192.0.2.10:80"], "hosts": ["wiki"],
		          "upstream": ["http://127.0.0.1:5232"],
		          "headers": [{ "name": "X-Remote-User", "value": "{login}", "encoding": "ascii" }] },
		"who":  { "listen": ["192.0.2.10:80"],
		          "upstream": ["http://127.0.0.1:8080"], "profiles": ["remote-user"] },
		$1
	},
}
END
}
config "" >"$etc/reeved.hujson"

get() { at client curl -sS --max-time 5 "$@"; }
code() { at client curl -sS --max-time 5 -o "$T/body" -w '%{http_code}' "$@"; }
as_staff() { get --interface 192.0.2.1 "$@"; }

#---- a configuration that is wrong is refused before it counts
config '"bad": { "listen": ["192.0.2.10:80"], "upstrem": [] }' >"$T/bad.hujson"
cp "$etc/policy.hujson" "$etc/identities.hujson" "$T/"
fails "reeved -n refuses an unknown key" on server reeved -n -c "$T/bad.hujson"
ok "and says where it stands" sh -c "nsenter -t $(cat "$T/pid/host-server") -n -m -- reeved -n -c $T/bad.hujson 2>&1 | grep -E 'bad.hujson:[0-9]+:[0-9]+.*upstrem'"
ok "reeved -n takes the right one" on server reeved -n
fails "nothing listens before reeved runs" as_staff http://app/headers

# The applications start in their own time: what is looked at below is what reeved does with them.
app_up() { at server curl -sS --max-time 5 -o /dev/null "http://127.0.0.1:$1/"; }
for p in 8000 5232 8080; do
	wait_for 60 app_up $p || { echo "Bail out! the application at port $p did not start"; exit 99; }
done
spawn server reeved reeved
up() { [ "$(code --interface 192.0.2.1 http://app/headers)" = 200 ]; }
ok "reeved serves" wait_for 60 up
ok "the audit says that break-glass keys are listed, and that standalone mode knows none" wait_for 30 grep -q \
	'"event":"break-glass-listed","tag":"tag:break-glass-ops",.*"in_force":false' "$T/log/reeved"

#---- who is let in, and who the application sees
same "an unknown address is refused" 403 code --interface 192.0.2.3 http://app/headers
ok "with a reason that a program can read" grep -q '"reason"' "$T/body"
same "so is a person without a grant" 403 code --interface 192.0.2.2 http://app/headers
same "staff reaches the application" 200 code --interface 192.0.2.1 http://app/headers
ok "which is told the login" grep -qix 'Remote-User: staff@example.edu' "$T/body"
ok "and the groups" grep -qi '^Remote-Groups:.*lab' "$T/body"
same "over IPv6 too" 200 code --interface 2001:db8::1 "http://[2001:db8::10]/headers"
ok "with the same login" grep -qix 'Remote-User: staff@example.edu' "$T/body"
same "a host name that is not ours" 421 code --interface 192.0.2.1 -H 'Host: evil.example' http://app/headers
same "an unsafe request from another site" 403 code --interface 192.0.2.1 -X POST \
	-H 'Sec-Fetch-Site: cross-site' -d x=1 http://app/form
same "the same from its own pages" 200 code --interface 192.0.2.1 -X POST \
	-H 'Sec-Fetch-Site: same-origin' -d x=1 http://app/form

#---- what a client claims about itself does not survive
whoami='<propfind xmlns="DAV:"><prop><current-user-principal/></prop></propfind>'
same "radicale knows the person" 207 code --interface 192.0.2.1 -X PROPFIND -H 'Depth: 0' -d "$whoami" http://wiki/
ok "by the login" grep -qE '/staff(@|%40)example.edu/' "$T/body"
same "another person's calendar is refused, whatever is claimed" 403 code --interface 192.0.2.1 \
	-X PROPFIND -H 'X-Remote-User: student@example.edu' http://wiki/student@example.edu/
ok "the CGI's REMOTE_USER" sh -c "nsenter -t $(cat "$T/pid/host-client") -n -m -- curl -sS http://who/who | grep -x REMOTE_USER=staff@example.edu"
spoof=()
for h in Remote-User remote-user REMOTE_USER Remote_User Remote.User X-Remote-User x_remote_user \
	X-Forwarded-User X_FORWARDED_USER X-Forwarded-Email X-Forwarded-Groups X-Forwarded-Preferred-Username \
	X-WEBAUTH-USER X_WebAuth_User Tailscale-User-Login Tailscale_User_Login OIDC_CLAIM_sub \
	OIDC-CLAIM-email X-Reeve-Assertion X_Reeve_Assertion Remote-Groups Remote-Email Remote-Name; do
	spoof+=(-H "$h: mallory")
done
same "a request full of claims passes" 200 code --interface 192.0.2.1 "${spoof[@]}" http://app/headers
fails "and none of them arrives" grep -qi mallory "$T/body"
ok "the truth does" grep -qix 'Remote-User: staff@example.edu' "$T/body"
same "a claim named in Connection" 200 code --interface 192.0.2.1 -H 'Connection: close, Remote-User' \
	-H 'Remote-User: mallory' http://app/headers
ok "takes nothing of ours away" grep -qix 'Remote-User: staff@example.edu' "$T/body"
head -c 3000000 /dev/urandom >"$T/blob"
same "a body arrives as it was sent" "3000000 $(sha256sum <"$T/blob" | cut -d' ' -f1)" \
	as_staff -X PUT --data-binary "@$T/blob" http://app/blob
same "a chunked one too" "3000000 $(sha256sum <"$T/blob" | cut -d' ' -f1)" \
	as_staff -X PUT -H 'Transfer-Encoding: chunked' --data-binary "@$T/blob" http://app/blob

#---- reload
reload() { kill -HUP "$(pid_of reeved)"; }
config '"more": { "listen": ["192.0.2.10:81"], "upstream": ["http://127.0.0.1:8000"] },' >"$etc/reeved.hujson"
sed -i 's/"svc:app", /&"svc:more", /' "$etc/policy.hujson"
sed -i 's/"tcp:80"/"tcp:80-81"/' "$etc/policy.hujson"
code_more() { [ "$(code --interface 192.0.2.1 -H 'Host: more' http://192.0.2.10:81/headers)" = 200 ]; }
reload
ok "SIGHUP brings a new service" wait_for 5 code_more
printf '{ "fronts": ' >"$etc/reeved.hujson"
reload
refused() { grep -qE 'reeved.hujson:1:' "$T/log/reeved"; }
ok "a bad file is refused, and the log says where" wait_for 5 refused
ok "the old one serves on" up
config "" >"$etc/reeved.hujson"
reload
gone() { ! code_more; }
ok "a service goes as it came" wait_for 5 gone

#---- what a front can do
children() { pgrep -P "$(pid_of reeved)" -u "$1" | sort -n; }
front_uid=60101 core_uid=60100
fronts() { children $front_uid; }
if grep -q 'probe: done' "$B/reeved"; then
	kill -USR1 "$(fronts | head -1)"
	ok "a front tries what it must not be able to" wait_for 5 grep -q 'probe: done' "$T/log/reeved"
	while IFS= read -r line; do
		case $line in
		*POSSIBLE*) result 1 "a front cannot $line" ;;
		*) result 0 "a front cannot $line" ;;
		esac
	done <<-END
	$(sed -n 's/.*probe: //p' "$T/log/reeved" | grep -v '^done')
	END
	ok "and it serves on" up
fi      # else: processes.sh does it, with a probe beside the build

#---- every process is killed in turn
# A stream through one front: the other is stopped meanwhile.
stream()
{
	kill -STOP "$2" 2>/dev/null
	spawn client "$1" python3 "$apps/watch.py" "$T/$1" http=http://app/stream
	wait_for 5 flows "$1"
	kill -CONT "$2" 2>/dev/null
}
bytes() { awk '{ print $3 }' "$T/$1" 2>/dev/null; }
flows()
{
	local before
	before=$(bytes "$1")
	sleep 0.2
	[ "$(bytes "$1")" -gt "${before:-0}" ]
}
a=$(fronts | sed -n 1p) b=$(fronts | sed -n 2p)
ok "there are two fronts" test -n "$a" -a -n "$b"
stream by-a "$b"
stream by-b "$a"
ok "a stream through each front" wait_for 5 flows by-a
# Waiting connections: nobody accepts them until another front is there.
kill -STOP "$a" "$b"
for i in 1 2 3 4 5 6 7 8; do
	at client curl -sS --max-time 10 -o /dev/null -w '%{http_code}\n' http://app/headers >"$T/waited-$i" &
done
queued() { [ "$(ip netns exec server ss -Htln 'sport = :80' | awk '/192.0.2.10/ { print $2 }')" -ge 8 ]; }
ok "eight connections wait" wait_for 5 queued
kill -KILL "$a"
served() { [ "$(cat "$T"/waited-* | grep -c '^200$')" = 8 ]; }
ok "a front that is killed is replaced, and they are served, though the other front stands still" \
	wait_for 8 served
kill -CONT "$b"
ok "the other front's stream flows" wait_for 2 flows by-b
fails "the killed front's stream does not" flows by-a
two() { [ "$(fronts | wc -l)" = 2 ]; }
ok "two fronts again" wait_for 5 two

core=$(children $core_uid)
kill -KILL "$core"
good=0
for i in 1 2 3 4 5 6 7 8 9 10; do up && good=$((good + 1)); done
ok "with core killed, ten of ten requests are served" test $good = 10
same "and a stranger is refused" 403 code --interface 192.0.2.3 http://app/headers
ok "and the stream flows" wait_for 5 flows by-b
core_back() { [ -n "$(children $core_uid)" ] && [ "$(children $core_uid)" != "$core" ]; }
ok "core comes back" wait_for 5 core_back

net=$(children 0 | head -1)
kill -KILL "$net"
ok "with net killed, the stream flows" wait_for 5 flows by-b
fails "and a stranger gets nothing" sh -c "[ $(code --interface 192.0.2.3 http://app/headers) = 200 ]"
ok "and net comes back" wait_for 10 up
ok "the stream still flows" wait_for 5 flows by-b

parent=$(pid_of reeved)
old=$(pgrep -P "$parent")
kill -KILL "$parent"
wait "$parent" 2>/dev/null
ended() { for p in $old; do ! kill -0 "$p" 2>/dev/null || return 1; done; }
ok "with the parent killed, the others end" wait_for 5 ended
fails "and nothing is open" up
spawn server reeved reeved
ok "it starts again" wait_for 10 up
stream by-b 999999999

#---- a person goes
sed -i '/192.0.2.1"/,/},/d' "$etc/identities.hujson"
t0=$(now_ms)
reload
closed() { grep -q ' closed$' "$T/by-b"; }
ok "who is taken from the file loses the open stream" wait_for 5 closed
echo "# last byte $(awk -v t0="$t0" '{ printf "%.0f", $4 * 1000 - t0 }' "$T/by-b") ms after SIGHUP"
same "and the next request" 403 code --interface 192.0.2.1 http://app/headers
same "while others go on" 207 code --interface 192.0.2.2 -X PROPFIND -H 'Depth: 0' http://wiki/

#---- the end
pids=$(pgrep -P "$(pid_of reeved)")
kill -TERM "$(pid_of reeved)"
wait "$(pid_of reeved)"
same "SIGTERM ends it with status 0" 0 echo $?
left() { for p in $pids; do ! kill -0 "$p" 2>/dev/null || return 1; done; }
ok "and all its processes" wait_for 5 left
finish
