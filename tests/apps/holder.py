#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""A server of the kind that an owner already has: it holds connections, and asks nobody.

usage: holder.py PORT LOG

TCP, IPv4 and IPv6 on one socket. To each connection it writes a line every 20 ms, and reads what comes.
LOG has a line for each thing that happens, in its order, with the other end as IP:PORT:
    open PEER        accepted
    read PEER        something came, the first time in each second
    end PEER WHY     reading ended: "eof", or the error's name
"""
import asyncio
import errno
import socket
import sys
import time

PERIOD = 0.02


class Log:
    def __init__(self, path):
        self.file = open(path, "a", buffering=1, encoding="ascii")

    def say(self, *words):
        print(*words, file=self.file)


def name(writer):
    host, port = writer.get_extra_info("peername")[:2]
    return f"{host.removeprefix('::ffff:')}:{port}"


async def talk(writer):
    try:
        while True:
            writer.write(b"still here\n")
            await writer.drain()
            await asyncio.sleep(PERIOD)
    except OSError:
        pass


async def hold(reader, writer, log):
    peer, why, said = name(writer), "eof", 0
    log.say("open", peer)
    talker = asyncio.create_task(talk(writer))
    try:
        while await reader.read(65536):
            if time.time() - said >= 1:
                said = time.time()
                log.say("read", peer)
    except OSError as e:
        why = errno.errorcode.get(e.errno, str(e.errno))
    log.say("end", peer, why)
    talker.cancel()
    writer.close()


async def main():
    log = Log(sys.argv[2])
    sock = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
    server = await asyncio.start_server(lambda r, w: hold(r, w, log), sock=sock)
    log.say("ready")
    await server.serve_forever()


asyncio.run(main())
