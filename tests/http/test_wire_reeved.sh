#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# The same cases as test_wire.py, through the whole of reeved in standalone mode.
here=$(dirname "$0")
if [ ! -x "${top_builddir:-.}/reeved" ]; then
	echo "skip: reeved is not built"
	exit 77
fi
export REEVE_WIRE=reeved
if [ "$(id -u)" != 0 ] || getent passwd reeve reeve-front reeve-tunnel >/dev/null; then
	exec "$here/test_wire.py" "$@"
fi
# root's reeved becomes other users: on a machine that has none of them, in a view of /etc of its own
exec unshare -m sh -c '
	mount -t tmpfs none /mnt && cp /etc/passwd /etc/group /mnt || exit 99
	id=3990
	for u in reeve reeve-front reeve-tunnel; do
		echo "$u:x:$id:$id::/nonexistent:/usr/sbin/nologin" >>/mnt/passwd
		echo "$u:x:$id:" >>/mnt/group
		id=$((id + 1))
	done
	mount --bind /mnt/passwd /etc/passwd && mount --bind /mnt/group /etc/group || exit 99
	exec "$@"' sh "$here/test_wire.py" "$@"
