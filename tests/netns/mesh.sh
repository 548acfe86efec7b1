#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# daemon/mesh with packets: two backends' devices, links, routes and the packet
# filter, driven by hand through mesh_tool. Runs as it is in the machine that
# kernel.sh boots, so it is plain sh and brings what it needs.
#
#    lap 100.64.0.2        svc 100.64.0.3        gw 100.64.0.4 ---- lab 10.9.0.5
#     |   a person's        |   a service host    |   a gateway      fd99::5
#     |                     |                     |
#   --+---------------------+---------------------+--- underlay 192.0.2.0/24, 2001:db8::/64
#     |
#    evil 192.0.2.66: on the underlay, and no member
#
# lap reaches svc over IPv4 and gw over IPv6.
set -u
BACKEND=${MESH_BACKEND:-userspace}
LC_ALL=C
export LC_ALL

name=$(basename "$0" .sh)
skip_all() { echo "skip $name: $*"; exit 77; }
if [ -z "${MESH_NS:-}" ]; then
	[ "$(id -u)" = 0 ] || skip_all "needs root"
	unshare -nm true 2>/dev/null || skip_all "this machine gives no namespaces"
	MESH_NS=1 exec unshare -nmpf --mount-proc --kill-child "$0" "$@"
fi
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${top_builddir:-.}" && pwd)
PATH=$build/tests/netns:$here:$PATH:/usr/sbin:/sbin
for tool in mesh_tool mesh_traffic ip nft ping; do
	command -v $tool >/dev/null || skip_all "no $tool"
done
if [ "$BACKEND" = userspace ]; then
	command -v wireguard-go >/dev/null || skip_all "no wireguard-go"
	[ -c /dev/net/tun ] || skip_all "no /dev/net/tun"
fi
mount -t tmpfs mesh /run && mkdir -p /run/netns /run/t
T=/run/t

passed=0 failed=0 skipped=0
started=$(date +%s)
ok()	# WHAT COMMAND...: holds if it succeeds
{
	what=$1; shift
	"$@" >$T/out 2>&1
	rc_=$?
	cp $T/out $T/said
	if [ $rc_ = 0 ]; then
		passed=$((passed + 1)); echo "ok - $what"
	else
		echo "# $* -> $rc_"; sed 's/^/#  /' $T/out | head -15
		failed=$((failed + 1)); echo "not ok - $what"
	fi
}
# What should come has 20 s for it, what should not come 700 ms.
patience=20000
not()	# a command that does not exist, or was called wrongly, has shown nothing
{
	patience=700
	"$@"; rc=$?
	patience=20000
	[ $rc != 0 ] && [ $rc != 2 ] && [ $rc -lt 126 ]
}
skip() { skipped=$((skipped + 1)); echo "skip - $1: $2"; }
finish()
{
	echo "# $BACKEND: $passed passed, $failed failed, $skipped skipped, $(($(date +%s) - started)) s"
	[ $failed = 0 ] && [ $passed != 0 ]
	exit
}
until_ok()	# SECONDS COMMAND...
{
	n=$((($1 < 60 ? 60 : $1) * 10)); shift
	while ! "$@" >$T/until 2>&1; do
		n=$((n - 1)); [ $n -gt 0 ] || return 1
		sleep 0.1
	done
}
on() { on_=$1; shift; ip netns exec "$on_" "$@"; }

# ---- hosts and wires ----

ULA=fd12:3456:7890::/48 V4=100.64.0.0/10
ip link set lo up
ip link add under type bridge forward_delay 0 2>/dev/null || skip_all "no bridges here"
ip link set under up
wire()	# HOST ADDRESS4 ADDRESS6
{
	ip netns add "$1"
	on "$1" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
	on "$1" ip link set lo up
	ip link add "u-$1" type veth peer name eth0 netns "$1"
	ip link set "u-$1" master under up
	on "$1" ip address add "$2/24" dev eth0
	on "$1" ip address add "$3/64" dev eth0 nodad
	on "$1" ip link set eth0 up
}
wire lap 192.0.2.2 2001:db8::2
wire svc 192.0.2.3 2001:db8::3
wire gw 192.0.2.4 2001:db8::4
wire evil 192.0.2.66 2001:db8::66
ip netns add lab
ip -n lab link set lo up
ip link add eth1 netns gw type veth peer name eth0 netns lab
for a in "gw eth1 10.9.0.1/24" "lab eth0 10.9.0.5/24"; do
	set -- $a; ip -n "$1" address add "$3" dev "$2"; ip -n "$1" link set "$2" up
done
ip -n gw address add fd99::1/64 dev eth1 nodad
ip -n lab address add fd99::5/64 dev eth0 nodad
ip -n lab route add default via 10.9.0.1
ip -n lab -6 route add default via fd99::1

# ---- devices ----

lap_key=$(mesh_tool genkey) svc_key=$(mesh_tool genkey) gw_key=$(mesh_tool genkey)
lap_pub=$(mesh_tool pubkey "$lap_key") svc_pub=$(mesh_tool pubkey "$svc_key")
gw_pub=$(mesh_tool pubkey "$gw_key")
lap6=$(mesh_tool address $ULA "$lap_pub") svc6=$(mesh_tool address $ULA "$svc_pub")
gw6=$(mesh_tool address $ULA "$gw_pub")
lap4=100.64.0.2 svc4=100.64.0.3 gw4=100.64.0.4

USERS_lap=1000 USERS_svc='*' USERS_gw='*'
FRONT=900
base()	# HOST: for mesh_tool
{
	eval users=\$USERS_$1
	MESH_BASE="m-$1 $ULA $V4 $users $FRONT"
	export MESH_BASE
}
m()	# HOST COMMAND...: mesh_tool there
{
	base "$1"; m_=$1; shift; on "$m_" mesh_tool "$@"
}

for h in lap svc gw; do
	eval key=\$${h}_key four=\$${h}4 six=\$${h}6
	if [ "$BACKEND" = userspace ]; then
		ip netns exec $h mesh_tool tunnel m-$h 60102 >$T/tunnel-$h 2>&1 &
		eval tunnel_$h=$!
	fi
	ok "$h: a $BACKEND device takes key and port" on $h mesh_tool device $BACKEND m-$h "$key" 51820
	[ $h = lap ] && far="10.9.0.0/24 fd99::/64" || far=
	ok "$h: addresses and routes" on $h mesh_tool link m-$h 1420 $four/32 $six/128 / $V4 $ULA $far
	ok "$h: the same again changes nothing" on $h mesh_tool link m-$h 1420 $four/32 $six/128 / $V4 $ULA $far
done
peer()	# HOST OF ENDPOINT PREFIX...
{
	of=$2 at=$3 whose=$1; shift 3
	eval pub=\$${of}_pub four=\$${of}4 six=\$${of}6
	on $whose mesh_tool peer $BACKEND m-$whose "$pub" "$at" $four/32 $six/128 "$@"
}
peer lap svc 192.0.2.3:51820
peer lap gw '[2001:db8::4]:51820' 10.9.0.0/24 fd99::/64
peer svc lap -
peer svc gw 192.0.2.4:51820
peer gw lap -
peer gw svc 192.0.2.3:51820
on gw mesh_tool forwarding

# ---- nothing is open before it is loaded ----

serve()	# HOST KIND ADDRESS PORT
{
	log=$T/serve-$1-$2-$4-$(echo "$3" | tr : .)
	on "$1" mesh_traffic serve "$2" "$3" "$4" 600 >"$log" 2>&1 &
	until_ok 10 grep -q ready "$log" || echo "# $* does not serve: $(cat "$log")"
}
for h in lap svc gw; do
	ok "$h: a table that lets nothing through" sh -c "[ \"\$1\" = new ]" sh "$(m $h open)"
done
serve svc tcp 0.0.0.0 80; serve svc tcp :: 81; serve svc udp 0.0.0.0 5000; serve svc udp $svc6 5001
serve svc tcp 0.0.0.0 82; serve lap tcp 0.0.0.0 80; serve lap udp 0.0.0.0 5000
serve lab tcp 10.9.0.5 23; serve lab tcp 10.9.0.5 24; serve lab udp 10.9.0.5 5000
serve lab tcp fd99::5 23; serve lab udp fd99::5 5000

ask() { kind=$1 to=$2 port=$3; shift 3; on lap mesh_traffic ask "$kind" "$to" "$port" "${1:-$patience}"; }
ask_svc() { on svc mesh_traffic ask "$1" "$2" "$3" $patience; }
ok "tcp is refused without a class" not ask tcp $svc4 80
ok "tcp over IPv6 is refused without a class" not ask tcp $svc6 81
ok "udp is refused without a class" not ask udp $svc4 5000
ok "ping is refused without a class" not on lap ping -c1 -W1 $svc4
ok "the laboratory is refused without a class" not ask tcp 10.9.0.5 23

# ---- classes and rows ----
# 5: web and one UDP service; 7: staff of the laboratory; 9: enrolled, nothing here

LONG=3600000
know()	# HOST OF CLASS4 CLASS6
{
	eval four=\$${2}4 six=\$${2}6
	m $1 class $four $3 $LONG >/dev/null && m $1 class $six $4 $LONG >/dev/null
}
know lap svc 9 9; know lap gw 9 9
ok "the laptop's own class for it is not enough" not ask tcp $svc4 80
m svc load 5:tcp:80-81 5:udp:5000-5001 5:icmp 5:icmpv6 6:any
know svc lap 9 9
ok "enrolled is not enough" not ask tcp $svc4 80
know svc lap 5 5
ok "tcp reaches its row" ask tcp $svc4 80
ok "tcp over IPv6" ask tcp $svc6 81
ok "udp" ask udp $svc4 5000
ok "udp over IPv6" ask udp $svc6 5001
ok "ping" on lap ping -c1 -W20 $svc4
ok "ping over IPv6" on lap ping -c1 -W20 $svc6
ok "another port is refused" not ask tcp $svc4 82
ok "and says so at once" grep -q 'No route to host' $T/said
ok "another port over IPv6 is refused" not ask tcp $svc6 82
ok "and says so" grep -q 'Permission denied' $T/said
ok "the service opens nothing to the laptop" not ask_svc tcp $lap4 80
ok "nor by udp" not ask_svc udp $lap4 5000
ok "an underlay address of the host is not reached through the mesh" \
	sh -c "ip -n lap route add 192.0.2.3/32 dev m-lap src $lap4 table 7; ip -n lap rule add to 192.0.2.3 dport 80 lookup 7 pref 5
	! ip netns exec lap mesh_traffic ask tcp 192.0.2.3 80 700; rc=\$?; ip -n lap rule del pref 5; exit \$rc"
# The peer's own WireGuard would refuse the source, were it honest; an honest one is asked here.
on lap mesh_tool peer $BACKEND m-lap "$svc_pub" 192.0.2.3:51820 $svc4/32 $svc6/128 198.51.100.0/24
ip -n svc address add 198.51.100.9/32 dev lo
ip -n lap route add 198.51.100.0/24 dev m-lap src $lap4
base lap; m lap via 198.51.100.0/24=$LONG 10.9.0.0/24=$LONG fd99::/64=$LONG
serve svc tcp 198.51.100.9 80
ok "rows are for overlay addresses, not for this host's others" not ask tcp 198.51.100.9 80
ip -n lap route del 198.51.100.0/24
peer lap svc 192.0.2.3:51820
m lap via 10.9.0.0/24=$LONG fd99::/64=$LONG

m gw load 5:icmp 5:icmpv6 / 7:10.9.0.0/24:tcp:23 7:10.9.0.5:udp:5000 7:10.9.0.0/25:icmp \
	'7:[fd99::/64]:tcp:23' '7:[fd99::5]:udp:5000' '7:[fd99::]:icmpv6' '8:[fd99::/64]:any' 8:10.9.0.0/24:any
know gw lap 5 5
ok "a class without rows for it does not reach the laboratory" not ask tcp 10.9.0.5 23
know gw lap 7 7
ok "staff reach the laboratory" ask tcp 10.9.0.5 23
ok "over IPv6" ask tcp fd99::5 23
ok "by udp" ask udp 10.9.0.5 5000
ok "by udp over IPv6" ask udp fd99::5 5000
ok "another port of it is refused" not ask tcp 10.9.0.5 24
ok "its ping is a row of its own" on lap ping -c1 -W20 10.9.0.5
ok "which IPv6 has not" not on lap ping -c1 -W1 fd99::5
ok "the gateway's own address there is not the laboratory" not ask tcp 10.9.0.1 23
on svc ip route add 10.9.0.0/24 dev m-svc metric 5000 2>/dev/null
on svc mesh_tool peer $BACKEND m-svc "$gw_pub" 192.0.2.4:51820 $gw4/32 $gw6/128 10.9.0.0/24
m svc via 10.9.0.0/24=$LONG; know svc gw 9 9; know gw svc 5 5
ok "the same route for a peer of another class is refused" not ask_svc tcp 10.9.0.5 23
m svc via; on svc ip route del 10.9.0.0/24 dev m-svc
peer svc gw 192.0.2.4:51820

# ---- the laboratory opens nothing ----

lab_ask() { on lab mesh_traffic ask "$1" "$2" "$3" $patience; }
ok "the laboratory opens no tcp to a laptop" not lab_ask tcp $lap4 80
ok "nor udp" not lab_ask udp $lap4 5000
ok "nor ping" not on lab ping -c1 -W1 $lap4
ok "nor over IPv6" not on lab ping -c1 -W1 $lap6
ok "it does not reach the gateway's overlay address" not on lab ping -c1 -W1 $gw4
# A port that a peer spoke to lately does not open others.
on lap mesh_traffic udpraw $lap4 5555 10.9.0.5 5000 700 >/dev/null
ok "nor from a port that lately answered, to another" \
	not on lab mesh_traffic udpraw 10.9.0.5 5001 $lap4 5000 700
serve gw tcp 10.9.0.1 88
ok "the laboratory's own net to its gateway is not our business" lab_ask tcp 10.9.0.1 88

# ---- nothing else is forwarded into the mesh ----

ip -n evil route add $V4 via 192.0.2.4; ip -n evil -6 route add $ULA via 2001:db8::4
ok "a stranger on the underlay is not forwarded" not on evil mesh_traffic ask tcp $lap4 80 700
ok "nor by IPv6" not on evil mesh_traffic ask tcp $lap6 81 700
ok "peers do not reach each other through a host" \
	sh -c "ip -n lap route add 100.64.0.9/32 dev m-lap; ! ip netns exec lap mesh_traffic ask tcp 100.64.0.9 80 700"

# ---- forged ----

counter() { m "$1" counters | sed -n "s/^$2 //p"; }
grown() { [ "$(counter $where $c)" -gt "$before" ]; }
grows()	# HOST COUNTER COMMAND...
{
	where=$1 c=$2; shift 2
	before=$(counter $where $c); "$@"
	# userspace WireGuard has the packet still, it may be
	if [ $patience = 700 ]; then sleep 0.7; grown; else until_ok 20 grown; fi
	rc_grown=$?
	echo "$c: $before, then $(counter $where $c)"
	return $rc_grown
}
forged()	# SRC DST KIND PORT
{
	on evil mesh_traffic forge "$@"
}
ip -n evil route replace $V4 via 192.0.2.3; ip -n evil -6 route replace $ULA via 2001:db8::3
log4=svc-udp-5000-0.0.0.0 log6=svc-udp-5001-$(echo $svc6 | tr : .)
delivered() { on evil mesh_traffic forge 192.0.2.66 192.0.2.3 udp 5000 && until_ok 20 grep -q forged $T/serve-$log4; }
ok "a control: an honest source is delivered" delivered
: >$T/serve-$log4
for dst in 192.0.2.3 $svc4; do
	ok "a forged overlay source to $dst is dropped" grows svc forged forged $lap4 $dst udp 5000
done
ok "a forged overlay source over IPv6 to the underlay address" grows svc forged forged $lap6 2001:db8::3 udp 5001
ok "a forged overlay source over IPv6 to the overlay address" grows svc forged forged $lap6 $svc6 udp 5001
ok "an honest source to the overlay address from outside" grows svc forged forged 192.0.2.66 $svc4 udp 5000
ok "an honest source to the overlay address from outside, IPv6" grows svc forged forged 2001:db8::66 $svc6 udp 5001
ok "a forged fragment is dropped before it waits for the rest" grows svc forged forged $lap4 $svc4 frag 5000
ok "a forged fragment over IPv6" grows svc forged forged $lap6 $svc6 frag 5001
sleep 0.3
ok "and none of them arrived" not grep -q forged $T/serve-$log4 $T/serve-$log6
ok "no flow of theirs is tracked" sh -c "! ip netns exec svc conntrack -L 2>/dev/null | grep 'sport=4242' | grep -q $lap4"
ip -n evil route replace $lap4/32 via 192.0.2.4
ok "the laboratory's addresses from outside are dropped" grows gw forged forged 10.9.0.5 $lap4 udp 5000
ok "far routes' addresses on the laptop's underlay are dropped" grows lap forged forged 10.9.0.5 192.0.2.2 udp 5000
# From the mesh with a source that is nobody's: the far WireGuard must believe it for this.
on svc mesh_tool peer $BACKEND m-svc "$lap_pub" - $lap4/32 $lap6/128 203.0.113.0/24
ip -n lap route add 203.0.113.0/24 dev lo; ip -n lap address add 203.0.113.7/32 dev lo
: >$T/serve-$log4
ok "a source from the mesh that is not the overlay's is dropped" \
	not on lap mesh_traffic udpraw 203.0.113.7 6000 $svc4 5000 700
ok "and was counted" sh -c "[ $(counter svc source) -gt 0 ]"
peer svc lap -
ok "back to what it was" ask tcp $svc4 80

# ---- a new TCP flow begins with SYN ----

ok "an ACK out of nowhere is dropped on its way out" grows lap not_new on lap mesh_traffic forge $lap4 $svc4 ack 80
# With the laptop's own filter gone the service host alone has to refuse it.
m lap close
ok "an ACK out of nowhere is dropped by the host" grows svc not_new on lap mesh_traffic forge $lap4 $svc4 ack 80
ok "an ACK out of nowhere is dropped by the gateway" grows gw not_new on lap mesh_traffic forge $lap4 10.9.0.5 ack 23
m lap open >/dev/null
ok "a table loaded anew is closed" not ask tcp $svc4 80
know lap svc 9 9; know lap gw 9 9; m lap via 10.9.0.0/24=$LONG fd99::/64=$LONG
ok "and opens again" ask tcp $svc4 80

# ---- who may send ----

as() { u=$1; shift; on lap setpriv --reuid "$u" --regid "$u" --clear-groups "$@"; }
if command -v setpriv >/dev/null; then
	ok "a listed user sends into the mesh" as 1000 mesh_traffic ask tcp $svc4 80 20000
	ok "root does" ask tcp $svc4 80
	ok "another user does not" not as 1001 mesh_traffic ask tcp $svc4 80 700
	ok "nor by udp" not as 1001 mesh_traffic ask udp $svc4 5000 700
	ok "nor over IPv6" not as 1001 mesh_traffic ask tcp $svc6 81 700
	ok "nor to the laboratory" not as 1001 mesh_traffic ask tcp 10.9.0.5 23 700
	ok "and is counted" sh -c "[ $(counter lap user) -ge 4 ]"
	ok "the underlay is open to all" as 1001 mesh_traffic ask tcp 192.0.2.3 80 20000
	ip netns exec svc setpriv --reuid $FRONT --regid $FRONT --clear-groups \
		mesh_traffic serve tcp $svc4 8080 600 >$T/front 2>&1 &
	m svc load 5:tcp:80-81 5:tcp:8080 5:udp:5000-5001 5:icmp 5:icmpv6 6:any
	until_ok 5 grep -q ready $T/front
	ok "a front answers" ask tcp $svc4 8080
	for to in "tcp $lap4 80" "tcp 192.0.2.2 80" "udp 192.0.2.2 5000" "tcp 127.0.0.1 80"; do
		ok "a front opens no $to" not on svc setpriv --reuid $FRONT --regid $FRONT --clear-groups \
			mesh_traffic ask $to 700
	done
else
	skip "local users and fronts" "no setpriv"
fi

# ---- a restart adopts, a row that goes ends flows ----

ok "a restarted net adopts the table" sh -c "[ \"\$1\" = adopted ]" sh "$(m svc open)"
ok "and flows go on" ask tcp $svc4 80

watching()	# NAME KIND ADDRESS PORT: in the background, until it runs
{
	ip netns exec lap mesh_traffic watch "$2" "$3" "$4" 60 >$T/watch-$1 2>&1 &
	eval watch_$1=$!
	until_ok 10 grep -q running $T/watch-$1
}
sending()
{
	ip netns exec lap mesh_traffic send tcp "$2" "$3" 60 >$T/watch-$1 2>&1 &
	eval watch_$1=$!
	until_ok 10 grep -q running $T/watch-$1
}
# seen NAME: when its last line came, and how many, once $cut (the clock, in ns) is a while ago
settled=
seen()
{
	[ "$settled" = "$cut" ] || { sleep 1.4; settled=$cut; }
	eval pid=\$watch_$1
	kill $pid; wait $pid
	last=$(sed -n 's/.*last //p' $T/watch-$1)
	lines=$(sed -n 's/lines \([0-9]*\) .*/\1/p' $T/watch-$1)
	after=$(((last - cut) / 1000))
	echo "$1: ${lines:-no} lines, the last $after us after the cut"
}
# mark: what is asked for from here on may take its time; until here flows did run.
mark() { read -r up_ _ </proc/uptime; start=${up_%.*}000000000; }
# ended NAME MS [yes]: its last line came at most MS after the cut; and it did run until the mark (or
# a moment before, on a machine that is busy), unless a flush of conntrack had ended it before
ended()
{
	seen $1
	worst=${worst:-0}
	[ $after -le $worst ] || worst=$after
	[ "${lines:-0}" -ge 3 ] && [ $after -le $(($2 * 1000)) ] &&
		{ [ "${3:-no}" = yes ] || [ $last -ge $((start - 3000000000)) ]; }
}
# Two seconds more, for a machine that is busy.
lives() { sleep 2; seen $1; [ $after -gt 1000000 ]; }

watching row udp $svc4 5000
watching stays tcp $svc4 80
mark
cut=$(m svc load 5:tcp:80-81 5:tcp:8080 >/dev/null; mesh_tool_now=$(m svc class 100.64.0.99 1 1000); echo ${mesh_tool_now#* })
ok "a row that goes ends its flow, which the server pushes" ended row 1000
ok "and no other" lives stays
m svc load 5:tcp:80-81 5:tcp:8080 5:udp:5000-5001 5:icmp 5:icmpv6 6:any

# ---- a class that is quiet (0x80000), and the coordinator's (0x40000) ----

m lap load 9:tcp:80 9:udp:5000
ok "a host may ask a peer that grants it" ask_svc tcp $lap4 80
know svc lap $((5 | 0x80000)) $((5 | 0x80000))
ok "unless the peer's class is quiet" not ask_svc tcp $lap4 80
ok "by UDP as well" not ask_svc udp $lap4 5000
ok "whose rows count" ask tcp $svc4 80
m lap load
watching quiet udp $svc4 5000
m svc load 5:tcp:80-81 5:tcp:8080
command -v conntrack >/dev/null && for i in 1 2 3 4 5; do on svc conntrack -F; sleep 0.05; done >/dev/null 2>&1
set -- $(m svc class 100.64.0.99 1 1000); cut=$2
ok "a row that goes ends what the server pushes, though its flow is forgotten" ended quiet 1000 yes
m svc load 5:tcp:80-81 5:tcp:8080 5:udp:5000-5001 5:icmp 5:icmpv6 6:any
know svc lap 5 5

m lap close
know svc lap $((9 | 0x40000)) $((9 | 0x40000))
ok "a segment from the coordinator's node needs no connection state" \
	not grows svc not_new on lap mesh_traffic forge $lap4 $svc4 ack 80
ok "one that opens a flow needs its row" sh -c "! ip netns exec lap mesh_traffic ask tcp $svc4 80 700"
know svc lap 5 5
ok "a control: another's does" grows svc not_new on lap mesh_traffic forge $lap4 $svc4 ack 80
m lap open >/dev/null
know lap svc 9 9; know lap gw 9 9; m lap via 10.9.0.0/24=$LONG fd99::/64=$LONG
ok "back to what it was, again" ask tcp $svc4 80

# ---- revocation: one element, all kinds of flows, whoever flushes conntrack ----

flusher()
{
	while :; do on "$1" conntrack -F; sleep 0.02; done >/dev/null 2>&1 &
	flusher=$!
}
command -v conntrack >/dev/null && flush="no yes" || { flush=no; skip "with conntrack -F" "no conntrack"; }
for f in $flush; do
	watching tcp_push tcp $svc4 80; watching udp_push udp $svc4 5000; sending tcp_send $svc4 80
	watching tcp6 tcp $svc6 81; watching udp6 udp $svc6 5001
	[ $f = no ] || flusher svc
	mark
	set -- $(m svc unclass $lap4) $(m svc unclass $lap6); cut4=$2 cut6=$4
	for w in tcp_push udp_push tcp_send tcp6 udp6; do
		case $w in *6) cut=$cut6 ;; *) cut=$cut4 ;; esac
		ok "revoked at the host (conntrack -F: $f): $w stops" ended $w 1000 $f
	done
	[ $f = no ] || kill $flusher
	ok "and a new flow is refused" not ask tcp $svc4 80
	know svc lap 5 5
	ok "until there is a class again" ask tcp $svc4 80

	watching gw_tcp tcp 10.9.0.5 23; watching gw_udp udp 10.9.0.5 5000; sending gw_send 10.9.0.5 23
	watching gw_tcp6 tcp fd99::5 23; watching gw_udp6 udp fd99::5 5000
	[ $f = no ] || flusher gw
	mark
	set -- $(m gw unclass $lap4) $(m gw unclass $lap6); cut4=$2 cut6=$4
	for w in gw_tcp gw_udp gw_send gw_tcp6 gw_udp6; do
		case $w in *6) cut=$cut6 ;; *) cut=$cut4 ;; esac
		ok "revoked at the gateway (conntrack -F: $f): $w stops" ended $w 1000 $f
	done
	[ $f = no ] || kill $flusher
	know gw lap 7 7
	ok "until there is a class again" ask tcp 10.9.0.5 23
done
echo "# last byte after a revocation: at most $worst us"

# An element's own time, with nobody there to remove it.
watching expires udp $svc4 5000
mark
set -- $(m svc class $lap4 5 1500); cut=$(($2 + 1500000000))
sleep 1.5
ok "an element that runs out ends flows by itself" ended expires 1000
know svc lap 5 5

# ---- path MTU ----

ip -n lab link set eth0 mtu 1280; ip -n gw link set eth1 mtu 1280
ok "a packet too big for the laboratory is told so" \
	sh -c "ip netns exec lap ping -c2 -W1 -M do -s 1350 10.9.0.5 2>&1 | grep -Eqi 'frag needed|too long|mtu'"
ip -n lab link set eth0 mtu 1500; ip -n gw link set eth1 mtu 1500

# ---- the device, one peer at a time ----

peers() { on "$1" mesh_tool peers $BACKEND "m-$1"; }
ok "peers are listed with endpoint and handshake" \
	sh -c "echo '$(peers lap)' | grep -F '$svc_pub 192.0.2.3:51820 ' | grep -Evq ' 0 rx'"
ok "the same over IPv6" sh -c "echo '$(peers lap)' | grep -qF '$gw_pub [2001:db8::4]:51820 '"
watching other tcp 10.9.0.5 23
cut=$(m svc class 100.64.0.99 1 1000); cut=${cut#* }
ok "a peer is removed" on lap mesh_tool unpeer $BACKEND m-lap "$svc_pub"
ok "again is no error" on lap mesh_tool unpeer $BACKEND m-lap "$svc_pub"
ok "and is gone" sh -c "! echo '$(peers lap)' | grep -qF '$svc_pub'"
ok "it cannot be reached" not ask tcp $svc4 80
ok "the other peer's flow went on" lives other
peer lap svc 192.0.2.3:51820
ok "it comes back" ask tcp $svc4 80
ok "key and port once more change nothing" on lap mesh_tool device $BACKEND m-lap "$lap_key" 51820
ok "peers stayed" ask tcp $svc4 80

if [ "$BACKEND" = userspace ]; then
	kill -9 $tunnel_svc; wait $tunnel_svc 2>/dev/null
	ok "without its tunnel process nothing passes" not ask tcp $svc4 80
	ok "the interface kept its addresses" sh -c "ip -n svc address show m-svc | grep -q $svc4"
	ip netns exec svc mesh_tool tunnel m-svc 60102 >$T/tunnel-svc 2>&1 &
	tunnel_svc=$!
	on svc mesh_tool device $BACKEND m-svc "$svc_key" 51820
	peer svc lap -; peer svc gw 192.0.2.4:51820
	on svc mesh_tool link m-svc 1420 $svc4/32 $svc6/128 / $V4 $ULA
	# Its peers have sessions with the old one until they get no answer for 15 s (REKEY_TIMEOUT +
	# KEEPALIVE_TIMEOUT), and it does not know where the laptop is.
	ok "a new one takes over" ask tcp $svc4 80 40000
	ok "two at once are refused" not on svc mesh_tool tunnel m-svc 60102
	ok "the tunnel process is not root" grep -q '^Uid:.60102.60102.60102' /proc/$tunnel_svc/status
fi

# ---- stopping ----

ok "device and interface go" on svc mesh_tool delete m-svc
ok "again is no error" on svc mesh_tool delete m-svc
ok "the interface is gone" sh -c "! ip -n svc link show m-svc 2>/dev/null"
ip -n lap link add dummy0 type dummy 2>/dev/null &&
	ok "another kind of interface is left alone" not on lap mesh_tool delete dummy0
m svc close
ok "the table goes" sh -c "! ip netns exec svc nft list table inet reeve 2>/dev/null"
finish
