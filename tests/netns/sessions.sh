#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# What is open goes on when a session is renewed, past the end of the one before, and ends when the
# provider logs the person out, and when an administrator disables them. On the campus of campus.sh:
#
#   http  a download over IPv4, through the wiki host's front
#   tcp   a stream from the laboratory, through the gateway
#   udp   datagrams that the laboratory, and the wiki host itself, push unasked
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/campus.sh"
for p in reeved reeve reeve-coordinator; do
	[ -x "$B/$p" ] || skip_all "$p is not built"
done

# The provider that tells the hub of logouts; it takes whatever certificate the hub has.
campus_idp()
{
	python3 "$TOP/tests/idp/idp.py" new "$idp" --listen 192.0.2.10:443 --name idp.example.edu \
		--redirect "$hub_url/login/callback" --logout-uri "$hub_url/login/logout/campus" >/dev/null || return 1
	spawn idp idp env NODE_TLS_REJECT_UNAUTHORIZED=0 python3 "$TOP/tests/idp/idp.py" serve "$idp"
	wait_for 20 grep -q '^ready ' "$T/log/idp"
}
campus_up
mkdir -m 1777 "$T/watch"
ed=$T/watch/ed

# The four streams, each with a byte in the last second.
flowing()
{
	awk -v now="$(date +%s.%N)" '$3 > 0 && $5 == "open" && now - $4 < 1 { n++ } END { exit n != 4 }' "$ed"
}
quiet()
{
	awk -v now="$(date +%s.%N)" 'now - $4 > 1 { n++ } END { exit n != 4 }' "$ed"
}
watch_begins()
{
	rm -f "$ed"
	nsenter -t "$(cat "$T/pid/host-staff")" -n -m -u -- setpriv --reuid staff --regid staff --clear-groups -- \
		python3 "$apps/watch.py" "$ed" http4=http://download/stream tcp=$instrument:5025 \
		udp=$instrument:5025 udp=wiki:5025 >>"$T/log/watch" 2>&1 </dev/null &
	watching=$!
}
watch_ends()
{
	kill $watching
	wait $watching 2>/dev/null
}
session_of()
{
	at staff reeve --json status | jq -r ".self.session.$1 // empty"
}
renewed()
{
	[ -n "$(session_of id)" ] && [ "$(session_of id)" != "$1" ]
}
# What the wiki's endpoint believes.
wiki_has()
{
	[ "$(at wiki reeve --json whois "$ip" | jq -r .session.id)" = "$1" ]
}
hub_session()
{
	local n
	n=$(at hub grep -c 'was read again' "$T/log/coordinator")
	at hub sed -i "s/\"mesh-name\": \"campus\",.*/\"mesh-name\": \"campus\", \"session\": \"$1\",/" \
		/etc/reeve/coordinator.hujson
	kill -HUP "$(pid_of coordinator)"
	wait_for 20 reloaded "$n"
}
reloaded()
{
	[ "$(grep -c 'was read again' "$T/log/coordinator")" -gt "$1" ]
}
past()
{
	[ "$(date +%s)" -gt "$1" ]
}

ip=$(at staff reeve --json status | jq -r .self.node.v4)
watch_begins
ok "a download, a stream and datagrams flow" wait_for 20 flowing

#---- renewal
first=$(session_of id)
ok "sessions of 25 seconds from now on" hub_session 25s
ok "the person logs in again on the same device" login_person staff staff@example.edu
ok "the session is another one" wait_for 20 renewed "$first"
second=$(session_of id) end=$(session_of expires)
ok "and what is open goes on" wait_for 20 flowing
ok "sessions of half a day" hub_session 12h
ok "the person logs in again" login_person staff staff@example.edu
ok "the session is another one" wait_for 20 renewed "$second"
third=$(session_of id)
ok "which the wiki's endpoint was told" wait_for 20 wiki_has "$third"
if past "$end"; then
	skip "the session before would have ended, and what is open goes on" "this machine was too slow to renew it in time"
else
	ok "the session before would have ended" wait_for 60 past $((end + 2))
	ok "and what is open goes on all the same" wait_for 20 flowing
	same "on the connections that it began with" "4" awk '$5 == "open" { n++ } END { print n }' "$ed"
fi

#---- who is idle: hosts say whose sessions are used
used_of() { at hub reeve --json --control "$control" session list | jq -r --arg l "$1@example.edu" '.[] | select(.login == $l) | .used'; }
is_used() { [ "$(used_of "$1")" -gt 0 ]; }
ok "the hub knows that the session with the download is used" wait_for 90 is_used staff
same "and that the student's is not, whose laptop listens to the map" 0 used_of student

#---- another device key: the node is who it was, and what is open over its IPv4 address goes on
node_of()       # ADDRESS MEMBER: as the wiki's endpoint has it
{
	at wiki reeve --json whois "$1" | jq -r ".$2"
}
v6_of()
{
	at staff reeve --json status | jq -r .self.node.v6
}
another_v6()
{
	[ "$(node_of "$ip" node.v6)" != "$1" ]
}
old6=$(v6_of) node=$(node_of "$ip" node.id)
ok "the laptop changes its device key" on staff reeve rotate
ok "its IPv6 address is another one, at the wiki as well" wait_for 20 another_v6 "$old6"
came_since()    # TIME: a byte on each of the four, later than that
{
	awk -v since="$1" '$4 > since && $5 == "open" { n++ } END { exit n != 4 }' "$ed"
}
ok "what is open goes on" wait_for 20 came_since "$(date +%s.%N)"
same "on the connections that it began with" "4" awk '$5 == "open" { n++ } END { print n }' "$ed"
same "the node is who it was" "$node $third" echo "$(node_of "$ip" node.id) $(node_of "$ip" session.id)"
same "by its new address too" "$node $third" echo "$(node_of "$(v6_of)" node.id) $(node_of "$(v6_of)" session.id)"
nobody_at()
{
	at wiki reeve whois "$1"
	[ $? = 5 ]
}
same "the old address is still the node's, for what is open over it" "$node" node_of "$old6" node.id
at wiki sed -i 's/"services": {/"key-overlap": "0", &/' /etc/reeve/reeved.hujson
kill -HUP "$(pid_of reeved-wiki)"
ok "and nobody's when its time is over" wait_for 20 nobody_at "$old6"
ok "the page is served over the new address" wait_for 20 as staff staff curl -6 -sfo /dev/null --max-time 3 http://download/headers
fails "the old key is kept nowhere" at staff sh -c 'ls /var/lib/reeve/device.key.*'

#---- the provider's logout
ok "the provider logs the person out" python3 "$TOP/tests/idp/idp.py" admin "$idp" logout '{"account":"staff@example.edu"}'
ok "and everything stops" wait_for 20 quiet
same "nobody is logged in on that laptop" "revoked" \
	sh -c "nsenter -t $(cat "$T/pid/host-wiki") -n -m -u -- reeve --json whois $ip | jq -r .why"
watch_ends

#---- disabled by an administrator
ok "the person logs in again" login_person staff staff@example.edu
granted()
{
	in_group && in_lab
}
ok "and is let in" wait_for 20 granted
watch_begins
ok "everything flows again" wait_for 20 flowing
ok "an administrator disables them" at hub reeve --control "$control" user disable staff@example.edu
ok "and everything stops" wait_for 20 quiet
fails "nobody logs in as them" login_person staff staff@example.edu
at hub reeve --control "$control" session list >"$T/list"
fails "no session of theirs is listed" grep -q staff@example.edu "$T/list"
ok "the student's is, with the device" grep -q 'student@example.edu  *student ' "$T/list"
watch_ends
finish
