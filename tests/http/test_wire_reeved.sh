#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# The same cases as test_wire.py, through the whole of reeved in standalone mode.
here=$(dirname "$0")
if [ ! -x "${top_builddir:-.}/reeved" ]; then
	echo "skip: reeved is not built"
	exit 77
fi
export REEVE_WIRE=reeved
exec "$here/with_users.sh" "$here/test_wire.py" "$@"
