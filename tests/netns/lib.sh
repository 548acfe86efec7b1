# SPDX-License-Identifier: AGPL-3.0-or-later
#
# A lab of hosts for the tests of the whole product; sourced by bash as the first
# thing a script does:
#
#   . "$(dirname "$0")/lib.sh"
#
# It runs the script again in namespaces of its own (network, mounts, processes), so
# that whatever the script starts or mounts is gone when the script is. In there:
#
#   host NAME                      a machine: its own network, name, /etc, /run, /var/lib
#   switch NAME                    a bridge; plug HOST SWITCH DEV ADDR/LEN... joins them
#   on HOST COMMAND...             runs it there, echoed;  at: the same, not echoed
#   spawn HOST NAME COMMAND...     in the background; output in $T/log/NAME, see pid_of
#   ok WHAT COMMAND...             a test that holds if the command succeeds
#   fails WHAT COMMAND...          a test that holds if it does not
#   same WHAT WANTED COMMAND...    a test that holds if it prints WANTED
#   wait_for SECONDS COMMAND...    asks every 50 ms until it succeeds; false at the deadline
#   skip WHAT REASON
#   skip_all REASON                ends the script as skipped
#   finish                         the last line: sums up
#
# $T is a folder in memory that all hosts see. Users reeve, reeve-front, reeve-tunnel,
# reeve-coordinator, staff and student exist on every host. $B is the build, in front of PATH.

set -u

skip_all()
{
	echo "skip $(basename "$0" .sh): $*"
	exit 77
}

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
B=$(cd "${top_builddir:-.}" && pwd)
export LC_ALL=C.UTF-8
# The system's own programs first: users of the lab cannot run what is in root's home.
PATH=$B:/usr/sbin:/usr/bin:/sbin:/bin:$PATH

if [ -z "${REEVE_LAB:-}" ]; then
	[ "$(id -u)" = 0 ] || skip_all "needs root"
	unshare -nmpf --mount-proc --kill-child true 2>/dev/null ||
		skip_all "this machine gives no namespaces"
	for d in "$TOP" "$B"; do
		case $d/ in
		/mnt/* | /run/* | /var/lib/* | /var/log/* | /etc/*)
			skip_all "the lab covers $d; build elsewhere" ;;
		esac
	done
	exec unshare -nmpf --mount-proc --kill-child env REEVE_LAB=1 bash "$0" "$@"
fi

T=/mnt
mount -t tmpfs -o mode=755 lab "$T" && mount -t tmpfs -o mode=755 lab /run || exit 99
mkdir -p "$T/log" "$T/pid" "$T/host" /run/netns
ip link set lo up
tests_passed=0 tests_failed=0 tests_skipped=0
started_ms=$(date +%s%3N)

lab_end()
{
	local rc=$?
	if [ $tests_failed != 0 ] || { [ $rc != 0 ] && [ $rc != 77 ]; }; then
		for log in "$T"/log/*; do
			[ -s "$log" ] && [ "${REEVE_LOG_LINES:-25}" != 0 ] || continue
			echo "# ---- $(basename "$log")"
			tail -n "${REEVE_LOG_LINES:-25}" "$log" | sed 's/^/#  /'
		done
	fi
	[ -z "${REEVE_KEEP:-}" ] || { mkdir -p "$REEVE_KEEP" && cp -r "$T/." "$REEVE_KEEP/"; }
	exit $rc
}
trap lab_end EXIT
trap 'exit 130' INT TERM HUP

# host NAME: the process that holds it is the first in it, and waits.
host()
{
	local name=$1 dir=$T/host/$1
	mkdir -p "$dir/etc" "$dir/lib" "$dir/log" "$dir/run"
	cp -a /etc/. "$dir/etc/" 2>/dev/null
	chmod 755 "$dir/etc" "$dir/lib" "$dir/run" "$dir/log"
	{
		echo "127.0.0.1 localhost $name"
		echo "::1 localhost"
	} >"$dir/etc/hosts"
	echo "$name" >"$dir/etc/hostname"
	: >"$dir/etc/resolv.conf"
	mkdir -p "$dir/etc/reeve"
	local u id=60100         # reeve 60100, reeve-front, reeve-tunnel, staff, student, reeve-coordinator 60105
	for u in reeve reeve-front reeve-tunnel staff student reeve-coordinator; do
		sed -i "/^$u:/d" "$dir/etc/passwd" "$dir/etc/group"
		echo "$u:x:$id:$id::/nonexistent:/usr/sbin/nologin" >>"$dir/etc/passwd"
		echo "$u:x:$id:" >>"$dir/etc/group"
		id=$((id + 1))
	done
	# The marker shows that the mounts are done.
	unshare -nmu sh -c '
		hostname "$1" &&
		mount --bind "$2/etc" /etc && mount --bind "$2/lib" /var/lib &&
		mount --bind "$2/log" /var/log && mount --bind "$2/run" /run &&
		{ mount -t sysfs none /sys 2>/dev/null || true; } &&
		ip link set lo up && : >"$2/up" && exec sleep infinity' sh "$name" "$dir" &
	echo $! >"$T/pid/host-$name"
	wait_for 10 test -e "$dir/up" || { echo "Bail out! host $name did not come up"; exit 99; }
	ip netns attach "$name" "$(cat "$T/pid/host-$name")"
}

switch()
{
	ip link add "$1" type bridge forward_delay 0 && ip link set "$1" up
}

plug()
{
	local h=$1 sw=$2 dev=$3 a
	shift 3
	ip link add "$h-$dev" type veth peer name "$dev" netns "$h"
	ip link set "$h-$dev" master "$sw" up
	# No duplicate address detection: addresses count at once.
	at "$h" sh -c "echo 0 >/proc/sys/net/ipv6/conf/$dev/accept_dad"
	for a in "$@"; do
		ip -n "$h" address add "$a" dev "$dev"
	done
	ip -n "$h" link set "$dev" up
}

at()
{
	local h=$1
	shift
	nsenter -t "$(cat "$T/pid/host-$h")" -n -m -u -- "$@"
}

lab_echo()
{
	printf '# %s$ %s\n' "$1" "$2"
}

on()
{
	local h=$1
	shift
	lab_echo "$h" "$*"
	at "$h" "$@"
}

spawn()
{
	local h=$1 name=$2
	shift 2
	lab_echo "$h" "$* &"
	nsenter -t "$(cat "$T/pid/host-$h")" -n -m -u -- "$@" >>"$T/log/$name" 2>&1 </dev/null &
	echo $! >"$T/pid/$name"
}

pid_of()
{
	cat "$T/pid/$1"
}

# end NAME [SIGNAL]: and wait for it.
end()
{
	local pid
	pid=$(pid_of "$1")
	kill -"${2:-TERM}" "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
}

now_ms()
{
	date +%s%3N
}

# wait_for SECONDS COMMAND...: until it succeeds; at least a minute, for a slow machine is no failure.
wait_for()
{
	local limit=$(($(now_ms) + ($1 < 60 ? 60 : $1) * 1000))
	shift
	until "$@" >"$T/wait" 2>&1; do
		[ "$(now_ms)" -lt $limit ] || { echo "# waited in vain: $*" >&2; return 1; }
		sleep 0.05
	done
}

result()
{
	local good=$1
	shift
	if [ "$good" = 0 ]; then
		tests_passed=$((tests_passed + 1))
		echo "ok $((tests_passed + tests_failed + tests_skipped)) - $*"
	else
		tests_failed=$((tests_failed + 1))
		echo "not ok $((tests_passed + tests_failed + tests_skipped)) - $*"
		return 1
	fi
}

ok()
{
	local what=$1 out rc
	shift
	out=$("$@" 2>&1)
	rc=$?
	[ $rc = 0 ] || printf '%s\n' "# $*" "exit $rc" "$out" | head -20 | sed 's/^#* */#  /'
	result $rc "$what"
}

# A command that does not exist has shown nothing.
fails()
{
	local what=$1 out rc good=0
	shift
	out=$("$@" 2>&1)
	rc=$?
	case $rc in
	0 | 126 | 127)
		good=1
		printf '%s\n' "# $*" "exit $rc" "$out" | head -20 | sed 's/^#* */#  /'
		;;
	esac
	result $good "$what"
}

same()
{
	local what=$1 want=$2 out good=0
	shift 2
	out=$("$@" 2>&1)
	if [ "$out" != "$want" ]; then
		good=1
		printf '%s\n' "$*" "wanted: $want" "got:    $out" | head -20 | sed 's/^/#  /'
	fi
	result $good "$what"
}

skip()
{
	tests_skipped=$((tests_skipped + 1))
	echo "skip $((tests_passed + tests_failed + tests_skipped)) - $1: $2"
}

finish()
{
	echo "# $tests_passed passed, $tests_failed failed, $tests_skipped skipped," \
		"$(($(now_ms) - started_ms)) ms"
	[ $tests_failed = 0 ] && [ $((tests_passed + tests_skipped)) != 0 ]
	exit
}
