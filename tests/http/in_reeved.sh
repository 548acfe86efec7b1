#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# usage: in_reeved.sh SCRIPT [ARGUMENT ...]
# The cases of a script beside this one, through the whole of reeved in standalone mode.
here=$(dirname "$0")
script=$1
shift
if [ ! -x "${top_builddir:-.}/reeved" ]; then
	echo "skip: reeved is not built"
	exit 77
fi
export REEVE_WIRE=reeved
exec "$here/with_users.sh" "$here/$script" "$@"
