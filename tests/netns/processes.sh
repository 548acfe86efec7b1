#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# reeved's processes, in standalone mode on one host: what each may do, what happens
# when one dies, reloads, how it ends, and how it is started.
#
#   srv   front0, front1 at 127.0.0.1:8080 ----> application at 127.0.0.1:8000
. "$(dirname "$0")/lib.sh"
PATH=$B/tests/netns:$PATH
apps=$TOP/tests/apps
command -v reeved_probe >/dev/null || skip_all "no reeved_probe"

host srv
etc=$T/host/srv/etc/reeve
log=$T/log/reeved
spawn srv app python3 "$apps/download.py" 127.0.0.1 8000

conf()	# PORTS UPSTREAM MORE
{
	cat >"$etc/reeved.hujson" <<-END
	{
		"identities": "identities.hujson", "policy": "policy.hujson",
		"run-dir": "/run/reeve", "state-dir": "/var/lib/reeve", "drain": "120s", "log-level": "debug",
		"services": { "wiki": { "listen": [$1], "hosts": ["127.0.0.1"], "upstream": "${2:-http://127.0.0.1:8000}",
		                        "profiles": ["remote-user"] } },
		${3:-}
	}
	END
}
conf '"127.0.0.1:8080"'
echo '[ { "from": "127.0.0.1", "login": "staff@example.edu" } ]' >"$etc/identities.hujson"
echo '{ "grants": [ { "src": ["staff@example.edu"], "dst": ["svc:wiki"], "ip": ["tcp:*"] } ] }' >"$etc/policy.hujson"

# A service manager's ear: writes down what it is told.
cat >"$T/ear.py" <<-'END'
	import socket, sys
	s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
	s.bind(sys.argv[1])
	out = open(sys.argv[2], "a", buffering=1)
	while True:
	    out.write(s.recv(4096).decode().replace("\n", " ") + "\n")
END
spawn srv ear python3 "$T/ear.py" /run/notify "$T/told"
wait_for 5 test -S "$T/host/srv/run/notify"

get() { at srv curl -sS --max-time 30 -o /dev/null -w '%{http_code}\n' "$@"; }
served() { [ "$(get "http://127.0.0.1:${1:-8080}/headers")" = 200 ]; }
refused() { ! served "$1" 2>/dev/null; }
children() { pgrep -P "$(pid_of reeved)" 2>/dev/null; }
child() { local p; for p in $(children); do grep -qz "^reeved\[$1\]$" "/proc/$p/cmdline" && echo "$p"; done; }
status_of() { awk -v key="$2:" '$1 == key { print $2 }' "/proc/$(child "$1")/status"; }
said() { grep -q "$@" "$log"; }
told() { grep -q "$@" "$T/told"; }

# ---- start ----
fails "without root and without saying so it does not start" \
	at srv setpriv --reuid 60103 --regid 60103 --clear-groups reeved -c /etc/reeve/reeved.hujson
fails "a user that does not exist is named at -n" sh -c "
	sed 's/\"services\"/\"front-user\": \"nobody-here\", \"services\"/' $etc/reeved.hujson >$etc/bad.hujson
	nsenter -t $(cat "$T/pid/host-srv") -n -m -u reeved -n -c /etc/reeve/bad.hujson"
spawn srv reeved env NOTIFY_SOCKET=/run/notify reeved_probe -c /etc/reeve/reeved.hujson
ok "it serves" wait_for 10 served
ok "and says so to the service manager" wait_for 5 told READY=1

# ---- what each is ----
# A sanitizer's runtime needs what the filters refuse: such builds have none.
filter=2
grep -q -- '-fsanitize=address' "$B/config.status" 2>/dev/null && filter=0
same "parent: what its children need, and no more" 00000000000415e5 \
	awk '$1 == "CapEff:" { print $2 }' "/proc/$(pid_of reeved)/status"
same "front: its own user" 60101 status_of front0 Uid
same "front: no capability" 0000000000000000 status_of front0 CapEff
same "front: none to be had" 0000000000000000 status_of front0 CapBnd
same "front: no new privileges" 1 status_of front0 NoNewPrivs
same "front: a system call filter" $filter status_of front0 Seccomp
[ $filter = 0 ] || same "front: an empty file system" "" sh -c "ls -A /proc/$(child front0)/root/"
same "core: its own user" 60100 status_of core Uid
same "core: no capability" 0000000000000000 status_of core CapEff
same "core: a system call filter" $filter status_of core Seccomp
same "net: low ports, and nothing else of root" 0000000000000400 status_of net CapEff
for p in net core front0; do
	same "$p: no core dump" 0 sh -c "awk '/Max core/ { print \$6 }' /proc/$(child $p)/limits"
done
[ $filter = 0 ] || fails "front: another of its user's processes cannot look into it" \
	at srv setpriv --reuid 60101 --regid 60101 --clear-groups cat "/proc/$(child front0)/environ"

# ---- what a front that was taken over could do ----
at srv reeved_probe --probe >"$T/probe-free" 2>&1
tries=$(grep -c 'notice: probe: .*: ' "$T/probe-free")
can() { [ "$(grep -c POSSIBLE "$T/probe-free")" -gt 10 ]; }
ok "the probe sees what is possible outside" can
if [ $filter = 2 ]; then
kill -USR1 "$(child front0)"
ok "inside, it comes to its end" wait_for 5 said 'front0\].*probe: done'
same "and tried the same" "$tries" sh -c "grep -c 'front0\].*notice: probe: .*: ' $log"
fails "nothing was possible" grep 'front0\].*POSSIBLE' "$log"
ok "the front serves on" served
else
	skip "what a front could do" "built with a sanitizer, without the sandbox"
fi

# ---- what dies ----
fronts() { echo "$(child front0) $(child front1)"; }
queue() { for i in $(seq 20); do get http://127.0.0.1:8080/headers >"$T/q$i" 2>&1 & done; sleep 0.5; }
queued() { [ "$(cat "$T"/q? "$T"/q?? 2>/dev/null | grep -c '^200$')" = 20 ]; }

kill -STOP $(fronts)
queue
kill -KILL "$(child front0)"
kill -CONT "$(child front1)"
ok "a front dies: what waited in the accept queue is served by the other" wait_for 8 queued
wait_for 5 served
rm -f "$T"/q*

kill -STOP $(fronts)
queue
kill -KILL $(fronts)
ok "both die: it is served by those that follow" wait_for 8 queued
rm -f "$T"/q*

stream() { spawn srv "stream$1" curl -sS -N --max-time 60 -o "$T/stream" "http://127.0.0.1:$1/stream"; }
stream 8080
grows() { local a b; a=$(stat -c %s "$T/stream" 2>/dev/null || echo 0); sleep 0.3; b=$(stat -c %s "$T/stream"); [ "$b" -gt "$a" ]; }
wait_for 5 grows
holder=$(for f in front0 front1; do
	at srv ss -Htnp state established "( sport = :8080 )" | grep -q "pid=$(child $f)," && echo $f; done)
other=front0; [ "$holder" = front0 ] && other=front1
kill -KILL "$(child $other)"
ok "a front dies: the other's connections go on" wait_for 5 grows
kill -KILL "$(child net)"
ok "net dies: open connections go on" wait_for 5 grows
again() { [ -n "$(child "$1")" ]; }
ok "net is there again" wait_for 5 again net
ok "and new ones are served, at the same socket" wait_for 5 served
kill -STOP "$(child core)"
ok "core hangs: served from the last snapshot" served
kill -KILL "$(child core)"
ok "core dies: served from the last snapshot" served
ok "core is there again" wait_for 5 again core
ok "connections went on all the while" wait_for 5 grows

# ---- reload ----
hup() { kill -HUP "$(pid_of reeved)"; }
conf '"127.0.0.1:8080", "127.0.0.1:8081"'
hup
ok "reload: a new listener serves" wait_for 5 served 8081
ok "the service manager was told" wait_for 5 told RELOADING=1
ok "connections go on" wait_for 5 grows
end stream8080
stream 8081
wait_for 5 grows
conf '"127.0.0.1:8081"'
hup
ok "reload: one that is gone refuses" wait_for 5 refused 8080
ok "the other serves" served 8081
ok "and its connections go on" wait_for 5 grows
echo '{ "identities": "identities.hujson", }' >"$etc/reeved.hujson"
hup
ok "a file that contradicts itself says why" wait_for 5 said 'reeved.hujson:.*standalone mode needs a'
conf '"127.0.0.1:8081" "x"'
hup
ok "one that does not parse says where" wait_for 5 said 'reeved.hujson:4:.*expected'
conf '"127.0.0.1:8081", "127.0.0.1:8000"'
hup
ok "an address that somebody has says so" wait_for 5 said 'reload: net: listening at 127.0.0.1:8000: another program listens there'
conf '"127.0.0.1:8081"'
echo '{ "grants": 7 }' >"$etc/policy.hujson"
hup
ok "a policy that is wrong says so" wait_for 5 said 'reload: core: .*policy'
conf '"127.0.0.1:8081"' '' '"fronts": 3,'
hup
ok "what takes a restart says so" wait_for 5 said '"fronts" changes with a restart only'
ok "all the while it serves as before" served 8081
ok "and connections go on" wait_for 5 grows
echo '{ "grants": [] }' >"$etc/policy.hujson"
conf '"127.0.0.1:8081"'
hup
denied() { [ "$(get http://127.0.0.1:8081/headers)" = 403 ]; }
ok "a policy without the grant denies" wait_for 5 denied
ended() { ! kill -0 "$(pid_of stream8081)" 2>/dev/null; }
ok "and ends what it no longer allows" wait_for 5 ended
echo '{ "grants": [ { "src": ["staff@example.edu"], "dst": ["svc:wiki"], "ip": ["tcp:*"] } ] }' >"$etc/policy.hujson"
hup
ok "with it again, it is served again" wait_for 5 served 8081

# ---- what hangs ----
conf '"127.0.0.1:8081"' '' '"watchdog": "3s",'
hup
wait_for 5 served 8081
hung=$(child front0)
kill -STOP "$hung"
ok "one that hangs is killed and said" wait_for 30 said 'front0 hangs: no answer for 3 s'
replaced() { local now; now=$(child front0); [ -n "$now" ] && [ "$now" != "$hung" ]; }
ok "another takes its place" wait_for 5 replaced
hung=$(child core)
kill -STOP "$hung"
ok "core too" wait_for 30 said 'core hangs: no answer for 3 s'
ok "all the while it serves" served 8081
ok "and the service manager heard that the parent lives" wait_for 5 told WATCHDOG=1
conf '"127.0.0.1:8081"'
hup
wait_for 5 served 8081

# ---- the end ----
at srv curl -sS --max-time 30 -o "$T/file" -w '%{http_code} %{size_download}\n' http://127.0.0.1:8081/file >"$T/file-said" 2>&1 &
wait_for 5 test -s "$T/file"
# core has just died, and whoever ends us writes to all of them, as some service
# managers do: the parent's word counts
kill -KILL "$(child core)"
kill -TERM $(children)
kill -TERM "$(pid_of reeved)"
ok "SIGTERM: new callers are refused" wait_for 3 refused 8081
downloaded() { [ -s "$T/file-said" ]; }
ok "an open download goes on to its end" wait_for 20 downloaded
same "whole" "200 10485760" cat "$T/file-said"
gone() { ! kill -0 "$(pid_of reeved)" 2>/dev/null; }
ok "then it ends" wait_for 8 gone
wait "$(pid_of reeved)"
same "with status 0" 0 echo $?
ok "the last request has its line in the audit" said '"path":"/file".*"bytes_out":10485760.*"end":"ok"'
ok "the service manager was told" wait_for 5 told STOPPING=1

# ---- socket activation ----
conf '"fd:web:8082"'
cat >"$T/activate.py" <<-'END'
	import os, socket, sys
	s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	s.bind(("127.0.0.1", 8082)); s.listen(64); s.setblocking(False)
	os.dup2(s.fileno(), 3); os.set_inheritable(3, True)
	os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="web")
	os.execvp(sys.argv[1], sys.argv[1:])
END
spawn srv reeved python3 "$T/activate.py" reeved -c /etc/reeve/reeved.hujson
ok "a socket that the service manager hands in is served" wait_for 10 served 8082
kill -KILL "$(child net)"
wait_for 5 again net
ok "also by net's next life" wait_for 5 served 8082
kill -KILL "$(pid_of reeved)"
alone() { [ -z "$(ps -eo args | grep '^reeved\[')" ]; }
ok "the parent dies: nobody stays behind" wait_for 5 alone

# ---- without root ----
conf '"127.0.0.1:8083"' '' '"unprivileged": true,'
rm -rf "$T/host/srv/lib/reeve" "$T/host/srv/run/reeve"
install -d -o 60103 -g 60103 -m 700 "$T/host/srv/lib/reeve" "$T/host/srv/run/reeve"
spawn srv reeved setpriv --reuid 60103 --regid 60103 --clear-groups reeved -c /etc/reeve/reeved.hujson
ok "\"unprivileged\": it serves without root" wait_for 10 served 8083
ok "and warns" said 'no process is separated from another'
same "its fronts have the filter all the same" $filter status_of front0 Seccomp
end reeved
fails "no sanitizer had anything to say" grep -E 'Sanitizer|runtime error' "$log"
finish
