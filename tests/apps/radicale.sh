#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# Debian's radicale (calendars and contacts), which believes the header X-Remote-User.
# usage: radicale.sh FOLDER ADDRESS:PORT
set -eu
mkdir -p "$1/collections"
cat >"$1/config" <<END
[server]
hosts = $2
[auth]
type = http_x_remote_user
[rights]
type = owner_only
[storage]
filesystem_folder = $1/collections
[web]
type = internal
[logging]
level = info
END
# Debian's python, whatever else is in front of PATH.
exec /usr/bin/python3 -m radicale --config "$1/config"
