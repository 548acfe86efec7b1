#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# usage: with_users.sh PROGRAM [ARGUMENT ...]
# root's reeved becomes other users: on a machine that has none of them, PROGRAM
# runs in a view of /etc of its own.
if [ "$(id -u)" != 0 ] || getent passwd reeve reeve-front reeve-tunnel >/dev/null; then
	exec "$@"
fi
exec unshare -m sh -c '
	mount -t tmpfs none /mnt && cp /etc/passwd /etc/group /mnt || exit 99
	id=3990
	for u in reeve reeve-front reeve-tunnel; do
		echo "$u:x:$id:$id::/nonexistent:/usr/sbin/nologin" >>/mnt/passwd
		echo "$u:x:$id:" >>/mnt/group
		id=$((id + 1))
	done
	mount --bind /mnt/passwd /etc/passwd && mount --bind /mnt/group /etc/group || exit 99
	exec "$@"' sh "$@"
