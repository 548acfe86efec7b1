#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# usage: alone.sh TEST [ARGUMENT ...]
# One test as `make check` runs it: by itself. Where that may be (as root) it has a network, a
# process table and a folder for temporary files of its own: no port of it is another's, and what
# it forgets to end or to take away goes with it. Elsewhere it runs as it is.
#
# With REEVE_TIMES=FILE a line "SECONDS CPU-SECONDS TEST" is added to FILE.
case $1 in
*/tests/netns/kernel.sh) net= ;;        # brings its kernel's package
*) net=n ;;
esac
inside='[ -z "$1" ] || ip link set lo up || exit 99
	mount -t tmpfs -o mode=1777 test "$2" || exit 99
	export TMPDIR="$2" ${1:+REEVE_ALONE=yes}
	shift 2
	"$@"'
began=$(date +%s%N)
dir=
if [ "$(id -u)" = 0 ] && unshare -nmpf --mount-proc --kill-child ip link set lo up 2>/dev/null; then
	dir=$(mktemp -d "${TMPDIR:-/tmp}/t.XXXXXX") || exit 99
	unshare -mpf$net --mount-proc --kill-child sh -c "$inside" alone "$net" "$dir" "$@"
else
	"$@"
fi
rc=$?
[ -z "$dir" ] || rmdir "$dir"
if [ -n "${REEVE_TIMES:-}" ]; then
	times >"$REEVE_TIMES.$$"
	awk -v wall="$(($(date +%s%N) - began))" -v what="$1" '
		NR == 2 {
			for (i = 1; i <= 2; i++) { split($i, t, /[ms]/); cpu += t[1] * 60 + t[2] }
			printf "%.1f %.1f %s\n", wall / 1e9, cpu, what
		}' "$REEVE_TIMES.$$" >>"$REEVE_TIMES"
	rm -f "$REEVE_TIMES.$$"
fi
exit $rc
