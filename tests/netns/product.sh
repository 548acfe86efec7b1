#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# The whole product on the campus of campus.sh: what must hold when something fails or
# somebody forges. A stranger stands on the campus network beside them:
#
#   ---- campus ----+-- hub, idp, wiki, gateway, staff, student
#                   +-- stranger 192.0.2.66, 2001:db8::66, who has the overlay addresses of staff, too
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/campus.sh"
for p in reeved reeve reeve-coordinator; do
	[ -x "$B/$p" ] || skip_all "$p is not built"
done
campus_up
host stranger
plug stranger campus eth0 192.0.2.66/24 2001:db8::66/64

code() { local h=$1 u=$2; shift 2; as "$h" "$u" curl -sS --max-time 3 -o "$T/body" -w '%{http_code}' "$@"; }

#---- who is who
same "staff is granted the download" 200 code staff staff http://download/headers
ok "and named to it" grep -qix 'Remote-User: staff@example.edu' "$T/body"
same "the student is not" 403 code student student http://download/headers
ok "staff reaches the laboratory" asks_instrument staff staff
fails "the student does not" asks_instrument student student
fails "another user of staff's laptop does not" asks_instrument staff student
same "a claim does not survive" 200 code staff staff -H 'Remote-User: director' -H 'remote_user: director' \
	-H 'X-Remote-User: director' -H 'Connection: remote-user' http://download/headers
fails "anywhere" grep -qi director "$T/body"

#---- forged overlay sources on the ordinary network
v4=$(at staff reeve --json status | jq -r .self.node.v4)
v6=$(at staff reeve --json status | jq -r .self.node.v6)
wiki4=$(at wiki reeve --json status | jq -r .self.node.v4)
wiki6=$(at wiki reeve --json status | jq -r .self.node.v6)
cat >"$T/udp.py" <<'END'
import socket, sys
if sys.argv[1] == "hear":
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", 7777))
    while True:
        data, who = s.recvfrom(100)
        print(data.decode(), "from", who[0], flush=True)
else:
    _, _, source, to, word = sys.argv
    s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((source, 0))
    for _ in range(3):
        s.sendto(word.encode(), (to, 7777))
END
# Without Reeve's table these would arrive: the same from an honest source does.
for h in wiki instrument; do
	spawn $h "hear-$h" python3 "$T/udp.py" hear
done
ip -n stranger address add "$v4/32" dev lo
ip -n stranger address add "$v6/128" dev lo nodad
ip -n stranger route add "$wiki4/32" via 192.0.2.20
ip -n stranger route add 10.9.0.0/24 via 192.0.2.30
ip -n stranger -6 route add "$wiki6/128" via 2001:db8::20
ip -n stranger -6 route add fd00:9::/64 via 2001:db8::30
heard() { grep -q "^$2 " "$T/log/hear-$1"; }
told() { at stranger python3 "$T/udp.py" say "$@"; }
reaches() { told "$1" "$2" "$3"; heard wiki "$3"; }	# again until it does: who hears may still be starting
ok "the stranger's own IPv4 address reaches the wiki host's ordinary one" \
	wait_for 5 reaches 192.0.2.66 192.0.2.20 honest4
ok "and IPv6" wait_for 5 reaches 2001:db8::66 2001:db8::20 honest6
told "$v4" 192.0.2.20 forged4
told "$v6" 2001:db8::20 forged6
told "$v4" "$wiki4" forged4
told "$v6" "$wiki6" forged6
told "$v4" 10.9.0.50 forged4
told "$v6" fd00:9::50 forged6
# The last honest one shows that those before it had their time.
told 192.0.2.66 192.0.2.20 after4
wait_for 5 heard wiki after4
for h in wiki instrument; do
	fails "a forged IPv4 source reaches nothing on $h" heard $h forged4
	fails "nor does a forged IPv6 source" heard $h forged6
done
fails "no TCP to the wiki's overlay address from a forged source" \
	at stranger curl -sS --max-time 3 --interface "$v4" -H 'Host: download' "http://$wiki4/headers"
fails "over IPv6" at stranger curl -gsS --max-time 3 --interface "$v6" -H 'Host: download' "http://[$wiki6]/headers"
forged() { at "$1" nft -j list counter inet reeve forged | jq -e '.nftables[] | .counter? // empty | .packets > 0' >/dev/null; }
ok "the wiki host counted them" forged wiki
ok "the gateway, too" forged gateway

#---- each process of the gateway's reeved and the wiki's is killed
# kill_one HOST WHO: by what runs as that user under reeved; nothing may open meanwhile.
children_of() { pgrep -P "$(pid_of "reeved-$1")" ; }
one_of()
{
	local p uid
	for p in $(children_of "$1"); do
		uid=$(awk '/^Uid:/ { print $2 }' "/proc/$p/status" 2>/dev/null)
		case $2:$uid in
		net:0 | core:60100 | front:60101) echo "$p"; return ;;
		esac
	done
	[ "$2" != tunnel ] || pgrep -u 60102 -x wireguard-go | while read -r p; do
		[ "$(readlink "/proc/$p/ns/net")" = "$(readlink "/proc/$(pid_of "reeved-$1")/ns/net")" ] && echo "$p"
	done
}
opened()
{
	asks_instrument student student && return 0
	[ "$(code student student http://download/headers)" = 200 ]
}
nothing_opens()
{
	local i
	for i in 1 2 3; do
		! opened || return 1
	done
}
granted_again() { in_group && in_lab; }
for h in wiki gateway; do
	for who in net core front tunnel; do
		[ "$h $who" != "gateway front" ] || continue    # it serves nothing itself
		pid=$(one_of $h $who | head -1)
		if [ -z "$pid" ]; then
			skip "$h: $who killed" "there is none here"
			continue
		fi
		kill -KILL "$pid"
		ok "$h: $who killed, nothing opens" nothing_opens
		ok "$h: and what is granted is there again" wait_for 40 granted_again
	done
done

#---- the coordinator is away
all_connected() { for h in hub wiki gateway staff student; do connected $h || return 1; done; }
kill -KILL "$(pid_of coordinator)"
wait "$(pid_of coordinator)" 2>/dev/null
ok "without the coordinator, staff is served" granted_again
for h in wiki gateway; do
	end reeved-$h
	reeved_start $h
done
ok "reeved that starts then has its last map" wait_for 40 granted_again
refused() { [ "$(code student student http://download/headers)" = 403 ]; }
ok "the student is refused as before" wait_for 40 refused
fails "in the laboratory, too" asks_instrument student student
end reeved-wiki KILL
reeved_start wiki
ok "so it has after kill -9 of the whole of it" wait_for 40 granted_again
coordinator_start
ok "the coordinator is back, and everybody hears it" wait_for 30 all_connected

#---- kill -9 of the coordinator while devices enrol, through the hub's front
at hub reeve-coordinator key --tag tag:server --uses 1000 >"$T/key"
: >"$T/acknowledged"
at idp python3 "$apps/enrol.py" "$(cat "$T/key")" 100 --prefix device --log "$T/acknowledged" >"$T/log/enrol" 2>&1 &
enrolling=$!
kills=0
while kill -0 $enrolling 2>/dev/null && [ $kills -lt 40 ]; do
	sleep 0.2
	kill -KILL "$(pid_of coordinator)"
	wait "$(pid_of coordinator)" 2>/dev/null
	kills=$((kills + 1))
	coordinator_start >/dev/null
done
wait $enrolling
same "100 devices enrol while the coordinator is killed" 0 echo $?
echo "# killed $kills times"
at hub reeve --control "$control" --json node list >"$T/nodes"
lacking() { awk '{ print $1, $2, $3, $4 }' "$T/acknowledged" | while read -r name key four six; do
	jq -e --arg k "$key" --arg a "$four" --arg b "$six" \
		'any(.[]; .key == $k and .v4 == $a and .v6 == $b)' "$T/nodes" >/dev/null || echo "$name"
done; }
same "every acknowledged device is there, with its addresses" "" lacking
same "no address is given twice" "" sh -c "jq -r '.[] | .v4, .v6' '$T/nodes' | sort | uniq -d"
ok "a forged proof is refused" sh -c "! nsenter -t $(cat "$T/pid/host-idp") -n -m -u -- \
	python3 $apps/enrol.py '$(cat "$T/key")' 1 --prefix forger --forge >$T/forged 2>&1; grep -q refused $T/forged"
ok "and the people are still served" wait_for 40 granted_again
finish
