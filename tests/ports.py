# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ports of 127.0.0.1 to listen at, or to find nobody at."""
import os
import socket

LOWEST = 10000
given = 0


def free_port():
    """In a network of the test's own (tests/alone.sh) the next of those that the kernel gives nobody
    by itself: it begins at 32768. Elsewhere one that was free just now."""
    global given
    if os.environ.get("REEVE_ALONE"):
        given += 1
        return LOWEST + given
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
