#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# Another device key, when things go wrong: core is killed at each step of the change, the hub in its middle, while a
# third host is cut off; an old map does not bring the old key back; a key that is old enough changes by
# itself, and one that an owner lists does not. Of campus.sh's hosts, as servers with enrolment keys:
#
#   staff     changes its key; holds streams open to the wiki's instrument
#   wiki      serves, and believes what staff's keys say
#   gateway   the third one
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/campus.sh"
for p in reeved reeve reeve-coordinator; do
	[ -x "$B/$p" ] || skip_all "$p is not built"
done
command -v wg >/dev/null || skip_all "wg, of wireguard-tools, is not installed"

own_accounts=1          # nobody logs in: no provider is needed
campus_build
eval "campus_files_$(declare -f campus_hub_files)"
campus_hub_files()
{
	campus_files_campus_hub_files
	sed -i 's|"mesh-name": "campus",|& "audit": "/var/lib/reeve-coordinator/audit.json",|' \
		"$T/host/hub/etc/reeve/coordinator.hujson"
	cat >"$T/host/hub/etc/reeve/policy.hujson" <<-'END'
	{ "tagOwners": { "tag:server": ["admin@example.edu"] },
	  "grants": [{ "src": ["tag:server"], "dst": ["tag:server"], "ip": ["tcp:5025"] }] }
	END
}
campus_hub || { echo "Bail out! no hub"; exit 99; }
spawn wiki instrument-wiki python3 "$apps/instrument.py" 5025
conf() { printf '%s\n' "$2" >"$T/host/$1/etc/reeve/reeved.hujson"; }     # HOST TEXT
for h in staff wiki gateway; do
	conf $h '{}'
	server_up $h tag:server && wait_for 15 connected $h || { echo "Bail out! $h did not come up"; exit 99; }
done

hub_json() { at hub reeve --json --control "$control" "$@"; }
status() { at "$1" reeve --json status | jq -r "$2"; }  # HOST FILTER
key_of() { status "$1" .key.public; }
hub_key() { hub_json node show "$1" | jq -r .key; }
ip=$(status staff .self.node.v4)
node=$(status staff .self.node.id)
# Whose IPv4 address it is to WireGuard there.
owner_at() { at "$1" wg show reeve0 allowed-ips | awk -v ip="$ip/32" '{ for (i = 2; i <= NF; i++) if ($i == ip) print $1 }'; }
agree()         # KEY HOST...: hub, staff and those have it
{
	local want=$1 h
	shift
	[ "$(key_of staff)" = "$want" ] && [ "$(hub_key staff)" = "$want" ] || return 1
	for h in "$@"; do
		[ "$(owner_at "$h")" = "$want" ] || return 1
	done
}
core_of() { local p; for p in $(pgrep -P "$(pid_of "reeved-$1")"); do grep -qz '^reeved\[core\]$' "/proc/$p/cmdline" && echo "$p"; done; }
another_core() { local now; now=$(core_of "$1"); [ -n "$now" ] && [ "$now" != "$2" ] && reeved_answers "$1"; }
kill_core()     # HOST: and the next one answers
{
	local was
	was=$(core_of "$1")
	kill -KILL "$was" && wait_for 60 another_core "$1" "$was"
}
lib=$T/host/staff/lib/reeve
keys_beside() { ls "$T/host/staff/lib/reeve" | grep '^device\.key\.' ; }
no_keys_beside() { ! keys_beside; }
# The coordinator has the key that lies beside the one in use there: not one of an earlier try.
announced()
{
	local want
	want=$(wg pubkey <"$lib/device.key.next" | base64 -d | od -An -tx1 | tr -d ' \n' | tr a-f A-F)
	[ -n "$want" ] && [ "$(sql "SELECT hex(next_key) FROM node WHERE name = 'staff'")" = "$want" ]
}
sql()
{
	at hub /usr/bin/python3 -c 'import sqlite3, sys
for row in sqlite3.connect("/var/lib/reeve-coordinator/coordinator.db").execute(sys.argv[1]): print(*row)' "$1"
}
rotate_begins() { at staff reeve rotate >"$T/rotate" 2>&1 & rotating=$!; }

# The watcher writes ever the same file: a byte since then, on the connection that it began with.
mkdir -m 1777 "$T/watch"
watch_begins()
{
	nsenter -t "$(cat "$T/pid/host-staff")" -n -m -u -- \
		python3 "$apps/watch.py" "$T/watch/ed" tcp=$(status wiki .self.node.v4):5025 >>"$T/log/watch" 2>&1 </dev/null &
	watching=$!
}
watch_begins
came_since() { awk -v since="$1" '$4 > since && $5 == "open" { n++ } END { exit n != 1 }' "$T/watch/ed"; }
flows() { wait_for 60 came_since "$(date +%s.%N)"; }
ok "a stream flows" flows

# Which keys ever had the address at the wiki and the gateway: a line each, from here to the end.
(
	trap - EXIT
	while sleep 0.1; do
		for h in wiki gateway; do owner_at $h; done >>"$T/owners" 2>/dev/null
	done
) &
sampler=$!

#---- core is killed
key=$(key_of staff) first=$key
ok "all agree on staff's key" wait_for 60 agree "$key" wiki gateway
kill -STOP "$(pid_of coordinator)"
rotate_begins
ok "core is killed before the coordinator has answered" kill_core staff
kill -CONT "$(pid_of coordinator)"
wait $rotating
ok "the key stays, and nothing beside it" wait_for 60 no_keys_beside
ok "all agree" wait_for 60 agree "$key" wiki gateway
ok "what is open goes on" flows

# An endpoint that listens and does not acknowledge: the change waits for it.
try()
{
	announced && return
	kill -0 "$rotating" 2>/dev/null || rotate_begins        # a line that had just gone, perhaps
	return 1
}
held() { kill -STOP "$(core_of wiki)" && rotate_begins && wait_for 60 try; }
released() { kill -CONT "$(core_of wiki)"; }
settled() { no_keys_beside && agree "$(hub_key staff)" "$@"; }
on_disk() { wg pubkey <"$lib/device.key"; }
# The change waits ten seconds for an endpoint; on a machine that was slower it may be over: then again.
killed_announced()
{
	local i
	for i in 1 2 3 4 5; do
		held && kill_core staff || return 1
		released
		[ "$(on_disk)" = "$key" ] && return
		wait_for 120 settled wiki gateway || return 1
		key=$(on_disk)
		echo "$key" >"$T/key"
	done
	return 1
}
echo "$key" >"$T/key"           # what a test finds out is in a process of its own
ok "core is killed when the next key is announced" killed_announced
key=$(cat "$T/key")
ok "the key stays, and nothing beside it" wait_for 60 no_keys_beside
ok "all agree" wait_for 60 agree "$key" wiki gateway
ok "what is open goes on" flows

# Between the two names that files get: the old key has both.
parent=$(pid_of reeved-staff) was=$(core_of staff)
kill -STOP "$parent" && kill -KILL "$was"
ln "$lib/device.key" "$lib/device.key.old" && (umask 077 && wg genkey >"$lib/device.key.next")
chown --reference="$lib/device.key" "$lib"/device.key.*
kill -CONT "$parent"
ok "core is started again with the old key under both names" wait_for 60 another_core staff "$was"
ok "the key stays, and nothing beside it" wait_for 60 no_keys_beside
ok "all agree" wait_for 60 agree "$key" wiki gateway
ok "what is open goes on" flows

in_use() { [ -e "$lib/device.key.old" ] && ! cmp -s "$lib/device.key.old" "$lib/device.key"; }
used_or_over() { in_use || no_keys_beside; }
in_use_unknown()
{
	local i
	for i in 1 2 3 4 5; do
		held || return 1
		kill -STOP "$(pid_of coordinator)"
		wait_for 60 used_or_over && in_use && return
		kill -CONT "$(pid_of coordinator)"
		released
		wait_for 120 settled wiki gateway || return 1
		key=$(on_disk)
		echo "$key" >"$T/key"
	done
	return 1
}
ok "the next key is in use, and the coordinator does not know" in_use_unknown
key=$(cat "$T/key") next=$(on_disk)
ok "core is killed then" kill_core staff
released
kill -CONT "$(pid_of coordinator)"
ok "all agree on the next key" wait_for 120 agree "$next" wiki gateway
ok "nothing is beside it" wait_for 60 no_keys_beside
ok "what is open goes on" flows
fails "it is another key" [ "$next" = "$key" ]

#---- the hub is killed in the middle, and the third host cut off
keep() { at hub /usr/bin/python3 -c 'import sqlite3
sqlite3.connect("/var/lib/reeve-coordinator/coordinator.db").execute("VACUUM INTO ?", ("/var/lib/reeve-coordinator/'"$1"'",))'; }
key=$next
keep before.db
ok "announced" held
ip link set gateway-eth0 down
end coordinator KILL
ok "the hub's core is killed" kill_core hub
coordinator_start
released
ok "hub, staff and wiki agree" wait_for 120 settled wiki
[ "$(key_of staff)" = "$key" ] && echo "# on the old key" || echo "# on the new key"
ok "what is open goes on" flows
ip link set gateway-eth0 up
ok "so does the third host when it is back" wait_for 120 settled wiki gateway
ip link set gateway-eth0 down
# Over IPv6, whose address changes with the key.
old6=$(status staff .self.node.v6)
nsenter -t "$(cat "$T/pid/host-staff")" -n -m -u -- \
	python3 "$apps/watch.py" "$T/watch/six" "tcp=[$(status wiki .self.node.v6)]:5025" >>"$T/log/watch" 2>&1 </dev/null &
six_since() { awk -v since="$1" '$4 > since && $5 == "open" { n++ } END { exit n != 1 }' "$T/watch/six"; }
six_flows() { wait_for 60 six_since "$(date +%s.%N)"; }
ok "a stream over IPv6 flows" six_flows
ok "staff changes its key while the third host is away" wait_for 60 at staff reeve rotate
key_now=$(key_of staff)
ok "those who are there agree" wait_for 60 agree "$key_now" wiki
new6() { status staff .self.node.v6; }
fails "staff has another IPv6 address" [ "$(new6)" = "$old6" ]
ok "what is open over the old one goes on" six_flows
same "from which the wiki has staff" "$node" sh -c "nsenter -t $(cat "$T/pid/host-wiki") -n -m -u -- reeve --json whois $old6 | jq -r .node.id"
same "what begins now begins at the new one" "$(new6)" at staff /usr/bin/python3 -c 'import socket, sys
s = socket.create_connection((sys.argv[1], 5025), 30)
print(s.getsockname()[0])' "$(status wiki .self.node.v6)"
conf wiki '{ "key-overlap": "0" }'
kill -HUP "$(pid_of reeved-wiki)"
old_gone() { at wiki reeve whois "$old6"; [ $? = 5 ] && ! at wiki wg show reeve0 allowed-ips | grep -qF "$old6"; }
ok "no longer than an owner wants" wait_for 60 old_gone
six_quiet() { awk -v now="$(date +%s.%N)" 'now - $4 > 2 { n++ } END { exit n != 1 }' "$T/watch/six"; }
ok "then it ends" wait_for 60 six_quiet
ip link set gateway-eth0 up
fails "it is another key" [ "$key_now" = "$key" ]
ok "the third host agrees when it is back" wait_for 120 settled wiki gateway

#---- an old map does not bring the old key back
keep now.db
restore()       # FILE: the coordinator says what that database says
{
	end coordinator
	at hub sh -c 'cd /var/lib/reeve-coordinator && rm -f coordinator.db-wal coordinator.db-shm && cat "$1" >coordinator.db' sh "$1"
	coordinator_start
}
wiki_says() { status wiki ".peers[] | select(.node.id == \"$node\") | .refused // \"\""; }
old_map() { [ -n "$(wiki_says)" ]; }
ok "the coordinator goes back to a database from before" restore before.db
ok "the wiki was told of the old key, and refuses it" wait_for 60 old_map
same "for what its holder said" "the key's own holder has gone over to another one" wiki_says
fails "the old key is no peer there" sh -c "nsenter -t $(cat "$T/pid/host-wiki") -n -m -u -- wg show reeve0 peers | grep -qxF '$key'"
ok "the coordinator is what it was again" restore now.db
ok "and all agree" wait_for 120 agree "$key_now" wiki
# Who is refused is nobody: what was open with them has ended (daemon/mesh/cut.h).
kill $watching
wait $watching 2>/dev/null
watch_begins
ok "what begins then flows" flows || finish

#---- by itself
touch -d '2 hours ago' "$lib/device.key"
conf wiki "{ \"break-glass\": { \"ops\": { \"key\": \"$key_now\" } } }"
kill -HUP "$(pid_of reeved-wiki)"
lists() { sql "SELECT report FROM node WHERE name = 'wiki'" | grep -q "\"lists\":\[\"$node\"\]"; }
ok "the wiki's owner lists staff's key" wait_for 60 lists
fails "which does not change then" at staff reeve rotate
conf staff '{ "key-max-age": "1h" }'
kill -HUP "$(pid_of reeved-staff)"
held_back() { hub_json node show staff | jq -e '(.key_why | contains("wiki")) and .key_due < now'; }
ok "nor by itself, as its owner wants it: the hub knows why" wait_for 60 held_back
ok "and status does, with the pause before the next try" wait_for 60 at staff sh -c 'reeve --json status | jq -e "(.key.why | contains(\"wiki\")) and .key.failures >= 1 and .key.again > 0"'
same "it is the same key" "$key_now" key_of staff
conf wiki '{}'
kill -HUP "$(pid_of reeved-wiki)"
not_listed() { ! lists; }
ok "the wiki's owner lists it no more" wait_for 60 not_listed
kill -HUP "$(pid_of reeved-staff)"
changed() { [ "$(key_of staff)" != "$key_now" ] && no_keys_beside && agree "$(key_of staff)" wiki gateway; }
ok "then it changes by itself" wait_for 120 changed
ok "and the next change is in about an hour" wait_for 60 at staff sh -c 'reeve --json status | jq -e ".key.since > now - 600 and .key.due > now + 1800 and .key.due < now + 3601 and (.key | has(\"why\") | not)"'
ok "what is open goes on" flows
at hub sed -i 's/"mesh-name": "campus",/"mesh-name": "campus", "key-max-age": "30d",/' /etc/reeve/coordinator.hujson
kill -HUP "$(pid_of coordinator)"
reread() { grep -q 'was read again' "$T/log/coordinator"; }
ok "the administrators want it of everybody" wait_for 60 reread
kill -HUP "$(pid_of reeved-gateway)"
month() { hub_json node show gateway | jq -e '.key_due > now + 26 * 86400 and .key_due < now + 31 * 86400'; }
ok "a host whose owner says nothing does it" wait_for 60 month
conf gateway '{ "key-by-hand": true }'
kill -HUP "$(pid_of reeved-gateway)"
by_hand() { hub_json node show gateway | jq -e '.key_since > 0 and (has("key_due") | not)'; }
ok "one whose owner says by hand does not" wait_for 60 by_hand

kill $sampler
wait $sampler 2>/dev/null
sort -u "$T/owners" >"$T/seen"
{
	echo "$first"
	at hub grep -o '"device_key":"[^"]*"' /var/lib/reeve-coordinator/audit.json | cut -d'"' -f4
} >"$T/known"
only_its_own()
{
	local k
	[ -s "$T/seen" ] || return 1
	while read -r k; do
		grep -qF "$k" "$T/known" || { echo "$k had the address"; return 1; }
	done <"$T/seen"
}
ok "at no moment had another key than its own the address of staff" only_its_own
finish
