#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
exec "$(dirname "$0")/in_reeved.sh" test_wire_answers.py "$@"
